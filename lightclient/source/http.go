package source

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/confab-chat/confab/lightclient"
	"github.com/confab-chat/confab/lightclient/bundle"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/wire"
)

// HTTP is a source, submitter and historian over the query API (SPEC-bundle §6).
type HTTP struct {
	base   string
	client *http.Client
}

// NewHTTP returns a source at a base URL such as https://example.org or
// http://127.0.0.1:7780. client may be nil. Redirects are not followed: a source
// must not send its askers to addresses of its choosing, such as those that
// only their own machine or network can reach.
func NewHTTP(base string, client *http.Client) (*HTTP, error) {
	u, err := url.Parse(base)
	if err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") ||
		u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || u.User != nil || strings.HasSuffix(base, "#") {
		return nil, wire.Errorf(wire.Invalid, "source %.100q is no base URL: write https://host or http://host:port", base)
	}
	var own http.Client
	if client != nil {
		own = *client
	}
	own.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &HTTP{base: strings.TrimSuffix(u.String(), "/"), client: &own}, nil
}

// Name implements lightclient.Source: the base URL.
func (h *HTTP) Name() string { return h.base }

// longPoll is how many seconds a question may wait at the server.
const longPoll = "5"

// Bundle implements lightclient.Source.
func (h *HTTP) Bundle(ctx context.Context, r lightclient.Request) ([]byte, error) {
	q := url.Values{}
	switch {
	case r.Handle != "":
		q.Set("handle", string(r.Handle))
	case r.Account != nil:
		q.Set("account", r.Account.String())
	case r.Commit != nil:
		q.Set("commit", hex.EncodeToString(r.Commit[:]))
	case r.Chain:
		q.Set("chain", "1")
	}
	if r.Devices {
		q.Set("devices", "1")
	}
	if r.Serving {
		q.Set("serving", "1")
	}
	if r.Sponsor {
		q.Set("sponsor", "1")
	}
	for name, n := range map[string]uint64{"at": r.At, "known": r.Known, "pin": r.Pin, "after": r.After} {
		if n > 0 {
			q.Set(name, strconv.FormatUint(n, 10))
		}
	}
	if r.After > 0 || r.At > 0 {
		q.Set("wait", longPoll)
	}
	return h.do(ctx, http.MethodGet, "/v1/bundle?"+q.Encode(), nil, bundle.MaxSize)
}

// Submit implements lightclient.Submitter.
func (h *HTTP) Submit(ctx context.Context, op []byte) error {
	_, err := h.do(ctx, http.MethodPost, "/v1/ops", op, 1<<10)
	return err
}

// maxOps bounds an answer of Ops: the server's pages are 1 MiB and one row.
const maxOps = 2 << 20

// Ops implements lightclient.Historian.
func (h *HTTP) Ops(ctx context.Context, id namesvc.AccountID, after uint64) ([]lightclient.LoggedOp, bool, error) {
	b, err := h.do(ctx, http.MethodGet, fmt.Sprintf("/v1/accounts/%v/ops?after=%d", id, after), nil, maxOps)
	if err != nil {
		return nil, false, err
	}
	var page struct {
		_    struct{} `cbor:",toarray"`
		Rows []lightclient.LoggedOp
		More bool
	}
	if err := wire.Decode(b, &page, maxOps); err != nil {
		return nil, false, wire.Errorf(wire.Invalid, "history from %s: %w", h.base, err)
	}
	return page.Rows, page.More, nil
}

// problem is the body of an error.
type problem struct {
	_      struct{} `cbor:",toarray"`
	Code   string
	Reject namesvc.RejectCode
	Text   string
}

// maxProblem bounds the body of an error.
const maxProblem = 4 << 10

// do sends a request and returns the body of a good answer, at most limit
// bytes.
func (h *HTTP) do(ctx context.Context, method, path string, body []byte, limit int64) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, h.base+path, bytes.NewReader(body))
	if err != nil {
		return nil, wire.Errorf(wire.Invalid, "ask %s: %w", h.base, err)
	}
	res, err := h.client.Do(req)
	if err != nil {
		var bare *url.Error // says the whole URL again
		if errors.As(err, &bare) {
			err = bare.Err
		}
		return nil, wire.Errorf(wire.Unavailable, "%w", err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, failure(res)
	}
	if kind := res.Header.Get("Content-Type"); strings.HasPrefix(kind, "text/") {
		// A page of a hotel's network, or a web server that is none of ours.
		return nil, wire.Errorf(wire.Unavailable, "it answered with %s; is this a source, and does nothing stand in between?",
			lightclient.Printable(kind))
	}
	b, err := io.ReadAll(io.LimitReader(res.Body, limit+1))
	switch {
	case err != nil:
		return nil, wire.Errorf(wire.Unavailable, "read answer: %w", err)
	case int64(len(b)) > limit:
		return nil, wire.Errorf(wire.Invalid, "the answer is larger than %d bytes", limit)
	}
	return b, nil
}

// failure reads the error of an answer. Its text comes from a stranger and may
// end on a terminal, so it is made printable.
func failure(res *http.Response) error {
	if res.StatusCode >= 300 && res.StatusCode < 400 {
		return wire.Errorf(wire.Unavailable, "it redirects to %s, which is not followed; use that address if you want to",
			lightclient.Printable(res.Header.Get("Location")))
	}
	b, err := io.ReadAll(io.LimitReader(res.Body, maxProblem))
	var p problem
	if err != nil || wire.Decode(b, &p, maxProblem) != nil {
		return wire.Errorf(wire.Unavailable, "it answered with status %d", res.StatusCode)
	}
	text := lightclient.Printable(p.Text)
	if p.Reject != namesvc.Accepted {
		return &lightclient.RejectError{Code: p.Reject, Text: text}
	}
	return wire.Errorf(wire.CodeNamed(p.Code), "%s", text)
}
