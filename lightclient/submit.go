package lightclient

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/confab-chat/confab/lightclient/verify"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/wire"
)

// Stage is how far a submission has come.
type Stage uint8

// The stages, in order. Sent may come again: see Submit.
const (
	Sent   Stage = 1 // a mempool took the op
	Waited Stage = 2 // a block went by without it
	Proven Stage = 3 // the op is in the proven state
)

// Progress is told to whoever waits.
type Progress struct {
	Stage  Stage
	Height uint64 // newest proven height
	Source string // who took the op
}

// resendAfter is how many heads may pass before an op that a mempool took is
// sent again. Mempools drop what they accepted without a word when they fill up
// in the same moment.
const resendAfter = 3

// settled is how many more heads must pass until a refusal stands. A mempool
// knows a block before its state can be proven, so an op may be refused because
// it is in that very block; and whoever proves may be a block behind.
const settled = 2

// retryPause is how long to wait before asking again where nothing else says.
const retryPause = 300 * time.Millisecond

// Submit sends an op and returns when it is proven to be in the chain's state,
// sending it again as often as needed until its expiry height has passed. It
// believes only proofs: neither "taken" nor "refused" from a source is final
// before the state agrees, and one source's word never keeps an op from the
// others.
//
// Errors: *RejectError if the law refuses the op, by the word of every source
// that could be asked; kind Stale if it expired before any block took it, or if
// trust in the chain has expired (verify.ErrExpired); Conflict if another op
// took its place; Unavailable if ctx ended first, in which case the op may
// still be taken later.
func (c *Client) Submit(ctx context.Context, op []byte, report func(Progress)) (Proof, error) {
	tx, fault := namesvc.Parse(op)
	if fault != nil {
		return Proof{}, &RejectError{Code: fault.Code, Text: fault.Error()}
	}
	if report == nil {
		report = func(Progress) {}
	}
	s := submission{c: c, tx: tx, op: op, report: report}
	for _, src := range c.sources {
		if sub, ok := src.(Submitter); ok {
			s.to = append(s.to, recipient{src.Name(), sub})
		}
	}
	p, err := s.run(ctx)
	if err != nil {
		return Proof{}, fmt.Errorf("submit %v: %w", tx.Kind(), err)
	}
	return p, nil
}

// submission is one op on its way.
type submission struct {
	c      *Client
	tx     *namesvc.Tx
	op     []byte
	report func(Progress)

	to     []recipient
	height uint64 // newest head seen

	taken bool   // a mempool took it
	since uint64 // newest head seen when it did, 0 if none was
	again bool   // it is time to send it again

	refused *RejectError // nobody took it, and somebody said this
	under   uint64       // first head seen after that, 0 if none was yet
}

type recipient struct {
	name string
	Submitter
}

// run sends and looks, in turns, until the state or the op's expiry decides.
func (s *submission) run(ctx context.Context) (Proof, error) {
	if len(s.to) == 0 {
		return Proof{}, wire.Errorf(wire.Unavailable, "no source takes ops")
	}
	for {
		var failed error
		if s.again || !s.taken && s.refused == nil {
			failed = s.send(ctx)
		}
		p, in, err := s.look(ctx)
		switch {
		case in:
			s.report(Progress{Stage: Proven, Height: p.Height, Source: p.Source})
			return p, nil
		case ctx.Err() != nil:
			return Proof{}, wire.Errorf(wire.Unavailable, "no proof in time; the op may still be taken: %w", errors.Join(ctx.Err(), failed))
		case err != nil && !s.transient(err):
			return Proof{}, err
		case err == nil:
			if err := s.waited(p); err != nil {
				return Proof{}, err
			}
		}
		if err != nil || failed != nil {
			pause(ctx)
		}
	}
}

// waited takes in that the op is not in the state under p's head.
func (s *submission) waited(p Proof) error {
	s.height = p.Height
	switch {
	case s.refused != nil && s.under == 0:
		s.under = p.Height
	case s.refused != nil && p.Height >= s.under+settled:
		return s.refused
	case p.Height > s.expires():
		return wire.Errorf(wire.Stale, "no block took it before its expiry height %d; sign and send it again", s.expires())
	case s.taken && s.since == 0:
		s.since = p.Height
	}
	s.again = s.taken && s.height >= s.since+resendAfter
	s.report(Progress{Stage: Waited, Height: s.height})
	return nil
}

// transient reports whether looking again may help. Where a head has been
// proven before, the sources are of the right chain, and one that now gives
// nonsense may get over it.
func (s *submission) transient(err error) bool {
	if errors.Is(err, verify.ErrExpired) || errors.Is(err, errNoHistorian) {
		return false
	}
	switch wire.CodeOf(err) {
	case wire.Unavailable, wire.Stale:
		return true
	case wire.Invalid:
		return s.height > 0
	}
	return false
}

func (s *submission) expires() uint64 {
	if s.tx.Commit != nil {
		return s.tx.Commit.Expires
	}
	return s.tx.Op.Expires
}

// send offers the op to the sources until one takes it; when it is sent again,
// to all of them, because the one that took it may have forgotten it on
// purpose. The error says why nobody took it.
func (s *submission) send(ctx context.Context) error {
	var failures []error
	var refused *RejectError
	taken := false
	for i, got := range inTurn(ctx, len(s.to), patience, func(ctx context.Context, i int) (struct{}, error) {
		return struct{}{}, s.to[i].Submit(ctx, s.op)
	}) {
		var no *RejectError
		switch {
		case got.err == nil:
			s.report(Progress{Stage: Sent, Height: s.height, Source: s.to[i].name})
			taken = true
		case errors.As(got.err, &no):
			refused = &RejectError{Code: no.Code, Text: Printable(no.Text)}
		default:
			failures = append(failures, &failure{s.to[i].name, got.err})
		}
		if taken && !s.again {
			break
		}
	}
	switch {
	case taken:
		s.taken, s.since, s.again = true, s.height, false
	case refused != nil:
		s.taken, s.again, s.refused = false, false, refused
	default:
		return errors.Join(failures...)
	}
	return nil
}

// look asks whether the op is in the state under a head that has not been seen.
func (s *submission) look(ctx context.Context) (Proof, bool, error) {
	if s.tx.Commit != nil {
		id := s.tx.Commit.ID()
		p, err := s.c.ask(ctx, Request{Commit: &id, After: s.height}, 0)
		if err != nil {
			return Proof{}, false, err
		}
		leaf, err := p.verified.Leaf(namesvc.CommitKey(id))
		return p, leaf != nil, err
	}
	op := s.tx.Op
	p, err := s.c.ask(ctx, Request{Account: &op.Account, After: s.height}, 0)
	if err != nil {
		return Proof{}, false, err
	}
	e, err := p.verified.Account(op.Account)
	switch {
	case wire.CodeOf(err) == wire.NotFound:
		return p, false, nil // not on the chain yet
	case err != nil:
		return Proof{}, false, err
	case e.Seq < op.Seq:
		return p, false, nil
	case e.Seq == op.Seq && e.LastOp == s.tx.ID:
		return p, true, nil
	case e.Seq == op.Seq:
		return Proof{}, false, errReplaced
	}
	in, err := s.inHistory(ctx, e)
	return p, in, err
}

// errReplaced reports that the op can never be in the state.
var errReplaced error = wire.Errorf(wire.Conflict, "another op took its place in the account's sequence; read the entry and sign again")

// inHistory reports whether the op is part of the history of an account that
// has moved on since.
func (s *submission) inHistory(ctx context.Context, e namesvc.Entry) (bool, error) {
	ops, err := s.c.History(ctx, e)
	if err != nil {
		return false, err
	}
	for _, o := range ops {
		if o.ID == s.tx.ID {
			return true, nil
		}
	}
	return false, errReplaced
}

func pause(ctx context.Context) {
	t := time.NewTimer(retryPause)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
