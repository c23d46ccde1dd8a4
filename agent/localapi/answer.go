package localapi

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/confab-chat/confab/namesvc/wire"
)

// kind is how a method answers.
type kind string

const (
	isCall     kind = "call"
	isLong     kind = "long"
	isDownload kind = "download"
)

// A row is a method as the server does it.
type row struct {
	path   string
	kind   kind
	decode func([]byte) (any, error)
	do     func(ctx context.Context, q any, a *answer) error
}

func shape[Q any](b []byte) (any, error) {
	var q Q
	err := decode(b, &q)
	return q, err
}

// calls is the row of a call.
func calls[Q, R any](m call[Q, R], do func(context.Context, Q) (R, error)) row {
	return row{string(m), isCall, shape[Q], func(ctx context.Context, q any, a *answer) error {
		result, err := do(ctx, q.(Q))
		if err != nil {
			return err
		}
		a.begin("application/json", http.StatusOK)
		a.line(result)
		return nil
	}}
}

// lasts is the row of a long call.
func lasts[Q, R any](m long[Q, R], do func(ctx context.Context, q Q, say func(string)) (R, error)) row {
	return row{string(m), isLong, shape[Q], func(ctx context.Context, q any, a *answer) error {
		a.lines()
		var mu sync.Mutex // do may report from any goroutine, and even after its end
		ended := false
		result, err := do(ctx, q.(Q), func(text string) {
			mu.Lock()
			defer mu.Unlock()
			if !ended {
				a.line(step{Progress: text})
			}
		})
		mu.Lock()
		ended = true
		mu.Unlock()
		if err != nil {
			return err
		}
		a.line(outcome[R]{result})
		return nil
	}}
}

// pours is the row of a download.
func pours[Q any](m download[Q], do func(context.Context, Q, io.Writer) error) row {
	return row{string(m), isDownload, shape[Q], func(ctx context.Context, q any, a *answer) error {
		return do(ctx, q.(Q), (*pour)(a))
	}}
}

// The lines of a long call's answer.
type (
	step struct {
		Progress string `json:"progress"`
	}
	outcome[R any] struct {
		Result R `json:"result"`
	}
	failure struct {
		Error problem `json:"error"`
	}
)

// An answer is written once, as JSON, as lines or as bytes.
type answer struct {
	s      *Server
	w      http.ResponseWriter
	begun  bool
	stream bool // of lines
	err    error
}

func (a *answer) begin(kind string, status int) {
	if a.begun {
		return
	}
	a.begun = true
	h := a.w.Header()
	h.Set("Content-Type", kind)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	a.w.WriteHeader(status)
}

// lines begins an answer of lines, each of which is sent at once.
func (a *answer) lines() {
	a.begin("application/x-ndjson", http.StatusOK)
	a.stream = true
	a.write(nil)
}

// line writes a value as a line of JSON.
func (a *answer) line(v any) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		a.err = err
		return
	}
	a.write(b.Bytes())
}

func (a *answer) write(b []byte) {
	if a.err != nil {
		return
	}
	rc := http.NewResponseController(a.w)
	rc.SetWriteDeadline(time.Now().Add(writeTime))
	if _, a.err = a.w.Write(b); a.err == nil && a.stream {
		a.err = rc.Flush()
	}
}

// fail ends the answer with an error.
func (a *answer) fail(err error) {
	code, p := a.s.tell(err)
	switch {
	case a.stream:
		a.line(failure{p})
	case a.begun: // of a download; only a cut says that it is not whole
		panic(http.ErrAbortHandler)
	default:
		a.begin("application/json", code.HTTPStatus())
		a.line(p)
	}
}

// pour is an answer of bytes.
type pour answer

func (p *pour) Write(b []byte) (int, error) {
	a := (*answer)(p)
	a.begin("application/octet-stream", http.StatusOK)
	if a.write(b); a.err != nil {
		return 0, wire.Errorf(wire.Unavailable, "send: %w", a.err)
	}
	return len(b), nil
}
