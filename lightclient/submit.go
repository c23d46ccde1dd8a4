package lightclient

import (
	"context"
	"errors"
	"fmt"
	"time"

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

// retryPause is how long to wait before asking again where nothing else says.
const retryPause = 300 * time.Millisecond

// Submit sends an op and returns when it is proven to be in the chain's state,
// sending it again as often as needed until its expiry height has passed. It
// believes only proofs: neither "taken" nor "refused" from a source is final
// before the state agrees.
//
// Errors: *RejectError if the law refuses the op; kind Stale if it expired
// before any block took it; Unavailable if ctx ended first, in which case the op
// may still be taken later.
func (c *Client) Submit(ctx context.Context, op []byte, report func(Progress)) (Proof, error) {
	tx, fault := namesvc.Parse(op)
	if fault != nil {
		return Proof{}, &RejectError{Code: fault.Code, Text: fault.Error()}
	}
	if report == nil {
		report = func(Progress) {}
	}
	s := submission{c: c, tx: tx, op: op, report: report}
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
}

func (s *submission) run(ctx context.Context) (Proof, error) {
	height := uint64(0) // newest head seen
	for {
		refused, source, err := s.send(ctx)
		if err != nil {
			return Proof{}, err
		}
		if refused == nil {
			s.report(Progress{Stage: Sent, Height: height, Source: source})
		}
		for range resendAfter {
			p, in, err := s.look(ctx, height)
			switch {
			case ctx.Err() != nil:
				return Proof{}, wire.Errorf(wire.Unavailable, "no proof in time; the op may still be taken: %w", ctx.Err())
			case err != nil && (wire.CodeOf(err) == wire.Unavailable || wire.CodeOf(err) == wire.Stale):
				pause(ctx)
				continue
			case err != nil:
				return Proof{}, err
			case in:
				s.report(Progress{Stage: Proven, Height: p.Height, Source: p.Source})
				return p, nil
			case refused != nil:
				// The state does not have the op either, so the refusal stands.
				return Proof{}, refused
			case p.Height > s.expires()+1:
				return Proof{}, wire.Errorf(wire.Stale, "no block took it before its expiry height %d; sign and send it again", s.expires())
			}
			height = p.Height
			s.report(Progress{Stage: Waited, Height: height})
		}
	}
}

func (s *submission) expires() uint64 {
	if s.tx.Commit != nil {
		return s.tx.Commit.Expires
	}
	return s.tx.Op.Expires
}

// send offers the op to the sources until one takes it or refuses it by the
// law. While all are full or away it waits.
func (s *submission) send(ctx context.Context) (refused *RejectError, source string, err error) {
	for {
		var failures []error
		for _, src := range s.c.sources {
			sub, ok := src.(Submitter)
			if !ok {
				continue
			}
			err := s.offer(ctx, sub)
			switch {
			case err == nil:
				return nil, src.Name(), nil
			case errors.As(err, &refused):
				return refused, src.Name(), nil
			}
			failures = append(failures, fmt.Errorf("%s: %w", src.Name(), err))
		}
		switch {
		case len(failures) == 0:
			return nil, "", wire.Errorf(wire.Unavailable, "no source takes ops")
		case ctx.Err() != nil:
			return nil, "", wire.Errorf(wire.Unavailable, "no source took it in time: %w", errors.Join(failures...))
		}
		pause(ctx)
	}
}

func (s *submission) offer(ctx context.Context, sub Submitter) error {
	ctx, cancel := context.WithTimeout(ctx, sourceTimeout)
	defer cancel()
	return sub.Submit(ctx, s.op)
}

// look asks whether the op is in the state under a head above height.
func (s *submission) look(ctx context.Context, height uint64) (Proof, bool, error) {
	if s.tx.Commit != nil {
		hash := s.tx.Commit.Hash
		p, err := s.c.ask(ctx, Request{Commit: &hash, After: height}, 0)
		if err != nil {
			return Proof{}, false, err
		}
		leaf, err := p.verified.Leaf(namesvc.CommitKey(hash))
		return p, leaf != nil, err
	}
	op := s.tx.Op
	p, err := s.c.ask(ctx, Request{Account: &op.Account, After: height}, 0)
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
		return Proof{}, false, wire.Errorf(wire.Conflict, "another op took its place in the account's sequence; read the entry and sign again")
	}
	in, err := s.inHistory(ctx, e)
	return p, in, err
}

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
	return false, wire.Errorf(wire.Conflict, "another op took its place in the account's sequence; read the entry and sign again")
}

func pause(ctx context.Context) {
	t := time.NewTimer(retryPause)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
