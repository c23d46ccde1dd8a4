package query

import (
	"cmp"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/confab-chat/confab/chain"
	"github.com/confab-chat/confab/lightclient/verify"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/wire"
)

func (d *door) bundle(r *http.Request) (any, error) {
	ask, after, err := parseAsk(r.URL.Query())
	if err != nil {
		return nil, err
	}
	if err := d.wait(r, func() bool {
		newest := d.Heads.Newest()
		return newest > after && newest >= ask.At
	}); err != nil {
		return nil, err
	}
	if wantsJSON(r) {
		return d.Bundle(ask)
	}
	return d.Encoded(ask)
}

// parseAsk reads what a request for a bundle asks, and after which height.
func parseAsk(q url.Values) (ask Ask, after uint64, err error) {
	ask = Ask{Chain: q.Has("chain"), Devices: q.Has("devices"), Serving: q.Has("serving"), Sponsor: q.Has("sponsor")}
	if text := q.Get("handle"); text != "" {
		if ask.Handle, err = namesvc.ParseHandle(text); err != nil {
			return ask, 0, wire.Errorf(wire.Invalid, "%w", err)
		}
	}
	if text := q.Get("account"); text != "" {
		id, err := namesvc.ParseAccountID(text)
		if err != nil {
			return ask, 0, wire.Errorf(wire.Invalid, "%w", err)
		}
		ask.Account = &id
	}
	if text := q.Get("commit"); text != "" {
		hash, err := opID(text)
		if err != nil {
			return ask, 0, err
		}
		ask.Commit = (*[32]byte)(&hash)
	}
	for _, n := range []struct {
		name string
		into *uint64
	}{{"known", &ask.Known}, {"pin", &ask.Pin}, {"at", &ask.At}, {"checkpoint", &ask.Checkpoint}, {"after", &after}} {
		if *n.into, err = number(q.Get(n.name)); err != nil {
			return ask, 0, fmt.Errorf("%s: %w", n.name, err)
		}
	}
	return ask, after, ask.check()
}

// Submitted is the answer to a submission: the mempool took the op. It does not
// say that the op will be in a block.
type Submitted struct {
	_  struct{} `cbor:",toarray"`
	ID namesvc.OpID
}

func (d *door) submit(r *http.Request) (any, error) {
	// A body that comes slowly must not hold a place in the line.
	op, err := io.ReadAll(io.LimitReader(r.Body, namesvc.MaxOp+1))
	if err != nil {
		return nil, wire.Errorf(wire.Invalid, "the op did not arrive whole; send it again")
	}
	line := time.NewTimer(maxLine)
	defer line.Stop()
	select {
	case d.submitting <- struct{}{}:
		defer func() { <-d.submitting }()
	case <-line.C:
		return nil, wire.Errorf(wire.Exhausted, "too many ops at once; try again in a moment")
	case <-r.Context().Done():
		return nil, errStopping
	}
	tx, fault := d.App.Parse(op)
	if fault != nil {
		return nil, &RejectError{Reject: *fault}
	}
	code, detail, err := d.Submit(r.Context(), op)
	switch {
	case r.Context().Err() != nil:
		return nil, errStopping
	case err != nil:
		return nil, fmt.Errorf("submit: %w", err)
	case code == chain.LaneFull:
		return nil, wire.Errorf(wire.Exhausted, "%s", detail)
	case code != 0:
		return nil, &RejectError{Reject: namesvc.Reject{Code: namesvc.RejectCode(code), Detail: detail}}
	}
	return Submitted{ID: tx.ID}, nil
}

// RejectError is an op that the law refuses.
type RejectError struct{ Reject namesvc.Reject }

func (e *RejectError) Error() string { return e.Reject.Error() }

// Unwrap gives the error its kind.
func (e *RejectError) Unwrap() error {
	return &wire.Error{Code: e.Reject.Code.Kind(), Text: e.Error()}
}

func (d *door) receipt(r *http.Request) (any, error) {
	id, err := opID(r.PathValue("id"))
	if err != nil {
		return nil, err
	}
	var rec chain.ReceiptRecord
	var found bool
	werr := d.wait(r, func() bool {
		rec, found, err = d.App.Receipt(id)
		return found || err != nil
	})
	switch {
	case err != nil:
		return nil, err
	case found:
		return rec, nil
	case wire.CodeOf(werr) == wire.Invalid:
		return nil, werr
	}
	if from := d.App.From(); from > 1 {
		return nil, wire.Errorf(wire.NotFound, "op %v is in no block from height %d on; this server does not have those before", id, from)
	}
	return nil, wire.Errorf(wire.NotFound, "op %v is in no block", id)
}

// Page is some rows of a list.
type Page[T any] struct {
	_    struct{} `cbor:",toarray"`
	Rows []T
	More bool // ask again after the last row
}

func page[T any](rows []T, limit int, size func(T) int) Page[T] {
	total := 0
	for i, row := range rows {
		if total += size(row); total > maxPageBytes && i > 0 {
			return Page[T]{Rows: rows[:i], More: true}
		}
	}
	return Page[T]{Rows: rows, More: len(rows) == limit}
}

func (d *door) history(r *http.Request) (any, error) {
	id, err := namesvc.ParseAccountID(r.PathValue("id"))
	if err != nil {
		return nil, wire.Errorf(wire.Invalid, "%w", err)
	}
	after, err := number(r.URL.Query().Get("after"))
	if err != nil {
		return nil, err
	}
	const limit = 200
	rows, err := d.App.History(id, after, limit)
	if err != nil {
		return nil, err
	}
	// Not to have them is no claim that there are none.
	if from := d.App.From(); from > 1 && (len(rows) == 0 || rows[0].Seq != after+1) {
		if missing, err := d.App.Missing(id, after, len(rows) > 0); err != nil || missing {
			return nil, cmp.Or(err, error(wire.Errorf(wire.NotFound, "this server has the ops of accounts from height %d on; ask one that has them all", from)))
		}
	}
	return page(rows, limit, func(o chain.LoggedOp) int { return len(o.Op) }), nil
}

func (d *door) blocks(r *http.Request) (any, error) {
	after, err := number(r.URL.Query().Get("after"))
	if err != nil {
		return nil, err
	}
	const limit = 16 // a block may be megabytes
	rows, err := d.App.Blocks(after, limit)
	if err != nil {
		return nil, err
	}
	return page(rows, limit, func(b chain.BlockRecord) int {
		n := 0
		for _, op := range b.Ops {
			n += len(op)
		}
		return n
	}), nil
}

// Sealed is a checkpoint with its seals, which are empty until two thirds of
// the validators have sealed it.
type Sealed struct {
	_          struct{} `cbor:",toarray"`
	Checkpoint verify.Checkpoint
	Digest     [32]byte
	Seals      *verify.Seals
}

func (d *door) checkpoint(r *http.Request) (any, error) {
	n, err := number(r.PathValue("number"))
	if err != nil {
		return nil, err
	}
	c, ok, err := d.App.Checkpoint(n)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, wire.Errorf(wire.NotFound, "there is no checkpoint %d yet", n)
	}
	out := Sealed{Checkpoint: c, Digest: c.Digest(verify.ChainTag(d.Chain))}
	if seals, ok, err := d.App.Seals(n); err != nil {
		return nil, err
	} else if ok {
		out.Seals = &seals
	}
	return out, nil
}

// errStopping is the answer to a request that ends before its time: the caller
// has gone, or this server goes.
var errStopping = wire.Errorf(wire.Unavailable, "this server is stopping; ask another")

// errNotYet is the answer to a request whose time is over.
var errNotYet = wire.Errorf(wire.Unavailable, "not yet; ask again")

// wait returns when done reports true, a block came too late for the caller's
// patience (the query parameter wait, in seconds), or the caller has gone. Both
// a new head and a new receipt come with a block that the app commits.
func (d *door) wait(r *http.Request, done func() bool) error {
	seconds, err := number(r.URL.Query().Get("wait"))
	if err != nil {
		return fmt.Errorf("wait: %w", err)
	}
	_, news := d.App.Last()
	if done() {
		return nil
	}
	if seconds == 0 {
		return errNotYet
	}
	select {
	case d.waiting <- struct{}{}:
		defer func() { <-d.waiting }()
	default:
		return errNotYet
	}
	deadline := time.NewTimer(min(time.Duration(min(seconds, 3600))*time.Second, maxWait))
	defer deadline.Stop()
	for {
		select {
		case <-news:
		case <-deadline.C:
			return errNotYet
		case <-r.Context().Done():
			return errStopping
		}
		if _, news = d.App.Last(); done() {
			return nil
		}
	}
}

func number(text string) (uint64, error) {
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(text, 10, 63)
	if err != nil {
		return 0, wire.Errorf(wire.Invalid, "%.40q is not a number", text)
	}
	return n, nil
}

func opID(text string) (namesvc.OpID, error) {
	var id namesvc.OpID
	b, err := hex.DecodeString(text)
	if err != nil || len(b) != len(id) {
		return id, wire.Errorf(wire.Invalid, "an op id has %d hexadecimal digits", 2*len(id))
	}
	copy(id[:], b)
	return id, nil
}
