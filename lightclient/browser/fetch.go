//go:build js && wasm

package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"syscall/js"

	"github.com/confab-chat/confab/lightclient"
	"github.com/confab-chat/confab/lightclient/bundle"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/wire"
)

// fetcher is a source over the query API (SPEC-bundle §6) that asks with the
// browser's own fetch. Package source would do the same with net/http, which
// doubles what a page has to load.
type fetcher struct{ base string }

// newFetcher returns a source at a base URL such as https://example.org.
func newFetcher(base string) (_ *fetcher, err error) {
	bad := wire.Errorf(wire.Invalid, "source %.100q is no base URL: write https://host or http://host:port", base)
	defer func() {
		if recover() != nil { // what new URL throws
			err = bad
		}
	}()
	u := js.Global().Get("URL").New(base)
	part := func(name string) string { return u.Get(name).String() }
	if p := part("protocol"); p != "https:" && p != "http:" ||
		part("username")+part("password")+part("search")+part("hash") != "" || strings.ContainsAny(base, "?#") {
		return nil, bad
	}
	return &fetcher{base: strings.TrimSuffix(part("href"), "/")}, nil
}

// Name implements lightclient.Source: the base URL.
func (f *fetcher) Name() string { return f.base }

// longPoll is how many seconds a question may wait at the server.
const longPoll = "5"

// Bundle implements lightclient.Source for what Resolve asks: handles, and heads
// to compare.
func (f *fetcher) Bundle(ctx context.Context, r lightclient.Request) ([]byte, error) {
	q := js.Global().Get("URLSearchParams").New()
	set := func(name, value string) { q.Call("set", name, value) }
	if r.Handle != "" {
		set("handle", string(r.Handle))
	}
	if r.Devices {
		set("devices", "1")
	}
	if r.Serving {
		set("serving", "1")
	}
	if r.Sponsor {
		set("sponsor", "1")
	}
	for name, n := range map[string]uint64{"at": r.At, "known": r.Known, "pin": r.Pin, "after": r.After} {
		if n > 0 {
			set(name, strconv.FormatUint(n, 10))
		}
	}
	if r.After > 0 || r.At > 0 {
		set("wait", longPoll)
	}
	return f.get(ctx, f.base+"/v1/bundle?"+q.Call("toString").String())
}

// get returns the body of a good answer. It follows no redirect: a source must
// not send its askers to addresses of its choosing.
func (f *fetcher) get(ctx context.Context, url string) ([]byte, error) {
	stop := js.Global().Get("AbortController").New()
	defer context.AfterFunc(ctx, func() { stop.Call("abort") })()
	res, err := await(js.Global().Call("fetch", url, map[string]any{
		"redirect": "error", "credentials": "omit", "cache": "no-store", "referrerPolicy": "no-referrer", "signal": stop.Get("signal"),
	}))
	switch {
	case ctx.Err() != nil:
		return nil, wire.Errorf(wire.Unavailable, "no answer in time")
	case err != nil:
		return nil, wire.Errorf(wire.Unavailable, "%w (is it up, does it allow this page to ask, does it redirect?)", err)
	}
	kind := res.Get("headers").Call("get", "content-type")
	if kind.Type() == js.TypeString && strings.HasPrefix(kind.String(), "text/") {
		stop.Call("abort")
		return nil, wire.Errorf(wire.Unavailable, "it answered with %s; is this a source, and does nothing stand in between?", lightclient.Printable(kind.String()))
	}
	status := res.Get("status").Int()
	limit := bundle.MaxSize
	if status != 200 {
		limit = maxProblem
	}
	body, err := read(res, limit)
	stop.Call("abort") // what comes after the limit is not wanted
	if err != nil {
		return nil, err
	}
	if status != 200 {
		return nil, problem(status, body)
	}
	return body, nil
}

// read returns the body of an answer, at most limit bytes of it.
func read(res js.Value, limit int) ([]byte, error) {
	stream := res.Get("body")
	if !stream.Truthy() {
		return nil, nil
	}
	reader := stream.Call("getReader")
	var body []byte
	for {
		part, err := await(reader.Call("read"))
		if err != nil {
			return nil, wire.Errorf(wire.Unavailable, "read answer: %w", err)
		}
		if part.Get("done").Bool() {
			return body, nil
		}
		bytes := part.Get("value")
		n := bytes.Get("length").Int()
		if n > limit-len(body) {
			return nil, wire.Errorf(wire.Invalid, "the answer is larger than %d bytes", limit)
		}
		chunk := make([]byte, n)
		js.CopyBytesToGo(chunk, bytes)
		body = append(body, chunk...)
	}
}

// maxProblem bounds the body of an error.
const maxProblem = 4 << 10

// problem reads the error of an answer. Its text is a stranger's.
func problem(status int, body []byte) error {
	var p struct {
		_      struct{} `cbor:",toarray"`
		Code   string
		Reject namesvc.RejectCode
		Text   string
	}
	if wire.Decode(body, &p, maxProblem) != nil {
		return wire.Errorf(wire.Unavailable, "it answered with status %d", status)
	}
	return wire.Errorf(wire.CodeNamed(p.Code), "%s", lightclient.Printable(p.Text))
}

// await waits until a promise is settled.
func await(promise js.Value) (js.Value, error) {
	done := make(chan struct{})
	var value js.Value
	var err error
	good := js.FuncOf(func(_ js.Value, args []js.Value) any {
		value = args[0]
		close(done)
		return nil
	})
	defer good.Release()
	bad := js.FuncOf(func(_ js.Value, args []js.Value) any {
		err = fmt.Errorf("%s", lightclient.Printable(args[0].Call("toString").String()))
		close(done)
		return nil
	})
	defer bad.Release()
	promise.Call("then", good, bad)
	<-done
	return value, err
}
