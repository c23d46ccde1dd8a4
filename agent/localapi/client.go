package localapi

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"net"
	"net/http"
	"strings"
	"syscall"

	"github.com/confab-chat/confab/agent/chat"
	"github.com/confab-chat/confab/namesvc/wire"
)

// ErrNotRunning says that no agent answers for the account.
var ErrNotRunning error = wire.Errorf(wire.Unavailable, "no agent runs for this account; start it in another terminal: confab agent run")

const (
	// maxAnswer bounds an answer: the largest page of messages with its texts.
	maxAnswer = 16 << 20
	// maxLine bounds a line: a message with what belongs to it.
	maxLine = 1 << 20
)

// A Client calls a running agent. Its methods may be called from several
// goroutines; errors have the agent's kinds.
type Client struct {
	http  *http.Client
	base  string
	token string
}

// NewClient returns a client of the agent that runs in an account's home.
func NewClient(home string) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		path, err := socketPath(home)
		if err != nil {
			return nil, err
		}
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}
	return &Client{base: "http://agent", http: &http.Client{Transport: &http.Transport{DialContext: dial}}}
}

// NewHTTPClient returns a client of the agent at a URL, such as
// http://127.0.0.1:7777, with its token.
func NewHTTPClient(url, token string) *Client {
	return &Client{base: strings.TrimSuffix(url, "/"), token: token, http: &http.Client{
		Transport: &http.Transport{}, // no proxy: the agent is on this machine
		// The token is for the agent and for nobody whom it names.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Close closes connections that are idle.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// send sends a request and returns the response if it is no error.
func (c *Client) send(ctx context.Context, method, path string, body []byte) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, method, c.base+"/v1/"+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	if c.token != "" {
		r.Header.Set("Authorization", "Bearer "+c.token)
	}
	resp, err := c.http.Do(r)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return nil, ErrNotRunning
	case err != nil:
		return nil, gone(ctx, err)
	case resp.StatusCode == http.StatusOK:
		return resp, nil
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxLine))
	if err != nil {
		return nil, gone(ctx, err)
	}
	var p problem
	if err := json.Unmarshal(b, &p); err != nil {
		return nil, wire.Errorf(wire.Internal, "ask the agent: it answers with status %d and no reason", resp.StatusCode)
	}
	return nil, p.err()
}

func (p problem) err() error { return wire.Errorf(wire.CodeNamed(p.Code), "%s", p.Text) }

// gone says that the agent went away in the middle of an answer.
func gone(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	// Its cause stays here: a person is told what to do about networks, and the
	// agent is none.
	return wire.Errorf(wire.Unavailable, "ask the agent: %v", err)
}

func encode(q any) []byte {
	b, err := json.Marshal(q)
	if err != nil {
		panic("localapi: " + err.Error()) // our own shapes
	}
	return b
}

// do makes a call.
func do[Q, R any](ctx context.Context, c *Client, m call[Q, R], q Q) (R, error) {
	var result R
	resp, err := c.send(ctx, http.MethodPost, string(m), encode(q))
	if err != nil {
		return result, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return result, gone(ctx, err)
	case len(b) > maxAnswer:
		return result, wire.Errorf(wire.Exhausted, "ask the agent: the answer is longer than %d MiB; ask for less at once", maxAnswer>>20)
	}
	if err := json.Unmarshal(b, &result); err != nil {
		return result, wire.Errorf(wire.Internal, "ask the agent: read its answer: %w", err)
	}
	return result, nil
}

// doLong makes a long call; progress may be nil.
func doLong[Q, R any](ctx context.Context, c *Client, m long[Q, R], q Q, progress func(string)) (R, error) {
	var line struct {
		Progress *string  `json:"progress"`
		Result   *R       `json:"result"`
		Error    *problem `json:"error"`
	}
	var none R
	resp, err := c.send(ctx, http.MethodPost, string(m), encode(q))
	if err != nil {
		return none, err
	}
	defer resp.Body.Close()
	for b, err := range lines(ctx, resp.Body) {
		if err != nil {
			return none, err
		}
		line.Progress, line.Result, line.Error = nil, nil, nil
		if err := json.Unmarshal(b, &line); err != nil {
			return none, wire.Errorf(wire.Internal, "ask the agent: read its answer: %w", err)
		}
		switch {
		case line.Error != nil:
			return none, line.Error.err()
		case line.Result != nil:
			return *line.Result, nil
		case line.Progress != nil && progress != nil:
			progress(*line.Progress)
		}
	}
	return none, wire.Errorf(wire.Unavailable, "ask the agent: it stopped before this was done")
}

// lines yields the lines of an answer that are not empty.
func lines(ctx context.Context, r io.Reader) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		s := bufio.NewScanner(r)
		s.Buffer(nil, maxLine)
		for s.Scan() {
			if b := s.Bytes(); len(b) > 0 && !yield(b, nil) {
				return
			}
		}
		if err := s.Err(); err != nil {
			yield(nil, gone(ctx, err))
		}
	}
}

// Follow returns what happens from when it returns on, or after the event with a
// number as far as the agent remembers it. It ends with an error: that of ctx, or
// one of kind Unavailable when the agent stops or this follower is too slow; read
// the state then and follow anew.
func (c *Client) Follow(ctx context.Context, after ...uint64) (iter.Seq2[chat.Notice, error], error) {
	path := events
	for _, n := range after {
		path = fmt.Sprintf("%s?after=%d", events, n)
	}
	resp, err := c.send(ctx, http.MethodGet, path, nil)
	if err != nil {
		return nil, err
	}
	return func(yield func(chat.Notice, error) bool) {
		defer resp.Body.Close()
		for b, err := range lines(ctx, resp.Body) {
			var n chat.Notice
			if err == nil {
				err = json.Unmarshal(b, &n)
			}
			if err != nil {
				yield(n, err)
				return
			}
			if !yield(n, nil) {
				return
			}
		}
		err := wire.Errorf(wire.Unavailable, "the agent has stopped, or this program is too slow for it")
		if ctx.Err() != nil {
			yield(chat.Notice{}, ctx.Err())
			return
		}
		yield(chat.Notice{}, err)
	}, nil
}
