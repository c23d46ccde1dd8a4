//go:build js && wasm

// Command browser is confab's light client as WebAssembly. It gives a page one
// function:
//
//	confab.resolve(pin, source, handle) → Promise of an answer
//
// What it guarantees: an answer is proven from the pin, under a head that two
// thirds of the validators signed, no older than a minute; whoever served it is
// believed nothing. A promise is rejected if there is no such proof.
//
// What it must not know: the page. Start at resolve; the README beside this file
// says how to use it in a page of one's own, package site builds it.
package main

import (
	"context"
	"errors"
	"strings"
	"sync"
	"syscall/js"
	"time"

	"github.com/confab-chat/confab/lightclient"
	"github.com/confab-chat/confab/lightclient/verify"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/wire"
)

// Bounds.
const (
	// maxSources bounds the sources of a question: the second confirms the first,
	// and two may be down.
	maxSources = 4
	// maxClients bounds the clients that are kept, each with what it has verified.
	// A page asks one chain; a playground tries a few.
	maxClients = 8
	// maxText bounds in bytes what a page may pass as one argument.
	maxText = 2048
	// patience bounds one question with all its sources.
	patience = 45 * time.Second
)

func main() {
	d := &desk{clients: map[string]*lightclient.Client{}}
	js.Global().Set("confab", map[string]any{"resolve": js.FuncOf(d.resolve)})
	select {} // the page owns the rest
}

// desk answers a page's questions.
type desk struct {
	mu      sync.Mutex
	clients map[string]*lightclient.Client // by pin and sources
}

// resolve is the function that pages call. It returns a promise at once: in a
// browser nothing may wait.
func (d *desk) resolve(_ js.Value, args []js.Value) any {
	executor := js.FuncOf(func(_ js.Value, settle []js.Value) any {
		go func() {
			answer, err := d.ask(args)
			if err != nil {
				settle[1].Invoke(exception(err))
				return
			}
			settle[0].Invoke(answer)
		}()
		return nil
	})
	defer executor.Release()
	return js.Global().Get("Promise").New(executor)
}

// ask answers with a value for JavaScript.
func (d *desk) ask(args []js.Value) (map[string]any, error) {
	pinText, err := text(args, 0, "the pin")
	if err != nil {
		return nil, err
	}
	sources, err := text(args, 1, "the source")
	if err != nil {
		return nil, err
	}
	handle, err := text(args, 2, "the handle")
	if err != nil {
		return nil, err
	}
	h, err := namesvc.ParseHandle(strings.TrimSpace(handle))
	if err != nil {
		return nil, wire.Errorf(wire.Invalid, "%w", err)
	}
	c, err := d.client(pinText, sources)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	r, err := c.Resolve(ctx, h, 0)
	var proven *lightclient.AnswerError
	switch {
	case errors.As(err, &proven) && wire.CodeOf(err) == wire.NotFound:
		return map[string]any{
			"found": false, "handle": h.String(), "text": lightclient.Printable(proven.Error()), "proof": proof(proven.Proof),
		}, nil
	case err != nil:
		return nil, err
	}
	return answer(r), nil
}

// text returns an argument as text. A list of texts counts as one, with spaces
// between.
func text(args []js.Value, i int, what string) (string, error) {
	if i < len(args) {
		v := args[i]
		if js.Global().Get("Array").Call("isArray", v).Bool() {
			v = v.Call("join", " ")
		}
		if v.Type() == js.TypeString {
			if s := v.String(); s != "" && len(s) <= maxText {
				return s, nil
			}
		}
	}
	return "", wire.Errorf(wire.Invalid, "%s is missing or is no text of at most %d bytes; call confab.resolve(pin, source, handle)", what, maxText)
}

// client returns the client of this pin and these sources, which goes on from
// what it has verified before.
func (d *desk) client(pinText, sources string) (*lightclient.Client, error) {
	pin, err := verify.ParsePin(pinText)
	if err != nil {
		return nil, err
	}
	urls := strings.Fields(sources)
	if len(urls) > maxSources {
		return nil, wire.Errorf(wire.Invalid, "%d sources are more than %d", len(urls), maxSources)
	}
	name := pin.String() + " " + strings.Join(urls, " ")
	d.mu.Lock()
	defer d.mu.Unlock()
	if c := d.clients[name]; c != nil {
		return c, nil
	}
	config := lightclient.Config{Pin: pin, Store: storage{}}
	for _, url := range urls {
		s, err := newFetcher(url)
		if err != nil {
			return nil, err
		}
		config.Sources = append(config.Sources, s)
	}
	c, err := lightclient.New(config)
	if err != nil {
		return nil, err
	}
	if len(d.clients) >= maxClients {
		clear(d.clients) // what they verified is in the store
	}
	d.clients[name] = c
	return c, nil
}

// exception returns an error as JavaScript throws it. Its code is one of the
// kinds of errors: invalid, stale, conflict, unavailable, not-found …
func exception(err error) js.Value {
	e := js.Global().Get("Error").New(lightclient.Printable(err.Error()))
	e.Set("code", wire.CodeOf(err).String())
	return e
}
