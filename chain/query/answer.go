package query

import (
	"errors"
	"net/http"
	"strings"

	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/wire"
)

// The content types of answers.
const (
	typeCBOR = "application/cbor"
	typeJSON = "application/json"
)

// wantsJSON reports whether the asker wants to read the answer: by a header, or by
// a parameter where there can be no header, as in a link.
func wantsJSON(r *http.Request) bool {
	return strings.Contains(r.Header.Get("Accept"), typeJSON) || r.URL.Query().Get("format") == "json"
}

// encoded is an answer in CBOR already.
type encoded []byte

func (s *Server) answer(w http.ResponseWriter, r *http.Request, status int, v any) {
	var body []byte
	if ready, ok := v.(encoded); ok {
		body = ready
		w.Header().Set("Content-Type", typeCBOR)
	} else if wantsJSON(r) {
		var err error
		if body, err = wire.JSON(v); err != nil {
			s.Logger.Error("answer as json", "path", r.URL.Path, "err", err)
			status, body = http.StatusInternalServerError, []byte("{\"code\":\"internal\"}\n")
		}
		w.Header().Set("Content-Type", typeJSON)
	} else {
		body = wire.Encode(v)
		w.Header().Set("Content-Type", typeCBOR)
	}
	w.WriteHeader(status)
	w.Write(body)
}

// Problem is the body of every answer that is an error.
type Problem struct {
	_      struct{}           `cbor:",toarray"`
	Code   string             // the name of a wire.Code
	Reject namesvc.RejectCode // the law's code, 0 if it was not the law
	Text   string
}

// Readable leaves out the law's code where the law was not asked.
func (p Problem) Readable() any {
	if p.Reject == namesvc.Accepted {
		return struct{ Code, Text string }{p.Code, p.Text}
	}
	return struct {
		Code   string
		Reject namesvc.RejectCode
		Number uint32
		Text   string
	}{p.Code, p.Reject, uint32(p.Reject), p.Text}
}

// fail answers with an error. What has no kind is ours: its text stays in the
// log, because it may speak of files and disks.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	p := Problem{Code: wire.CodeOf(err).String(), Text: err.Error()}
	status := wire.CodeOf(err).HTTPStatus()
	var rejected *RejectError
	switch {
	case errors.As(err, &rejected):
		kind := rejected.Reject.Code.Kind()
		p = Problem{Code: kind.String(), Reject: rejected.Reject.Code, Text: rejected.Error()}
		status = kind.HTTPStatus()
	case wire.CodeOf(err) == wire.Internal:
		s.Logger.Error("query failed", "path", r.URL.Path, "err", err)
		p.Text = "something is wrong on this server; its log says what"
	}
	s.answer(w, r, status, p)
}
