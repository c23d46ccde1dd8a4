package e2ee

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/confab-chat/confab/talk/mls"
)

// Seal encrypts a payload of this device for all members. The message, in its
// envelope, has one of few sizes.
func (s *Session) Seal(rand io.Reader, p Payload) ([]byte, error) {
	if s.Removed() {
		return nil, fmt.Errorf("seal: this device was removed: %w", ErrBroken)
	}
	b, err := s.encode(p)
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	m, err := s.group.Encrypt(rand, b, mls.Framing{Pad: padMessage})
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	return m, nil
}

// Opened is what a message turned out to be: a payload, or a change to be merged.
type Opened struct {
	From    Member // who sent it: as the group has him, see Judge for the chain
	Payload Payload
	Change  *Change
}

// Open opens a message of this group. A payload uses up the message's key at once.
// A commit changes nothing until Merge; it has passed all rules:
//
//   - its sender is a member whom the judge confirms, and renews his keys;
//   - it only adds and removes;
//   - whom it adds is a device of a party, and the judge confirms it;
//   - whom it removes the judge confirms no more, be it this device.
//
// The errors are ErrOthers, ErrEarly, ErrLate, ErrSpent, ErrBroken, ErrForbidden,
// the judge's own, or that the bytes are none of a message.
func (s *Session) Open(b []byte) (Opened, error) {
	o, err := s.open(b)
	if err != nil {
		return Opened{}, fmt.Errorf("open message: %w", err)
	}
	return o, nil
}

func (s *Session) open(b []byte) (Opened, error) {
	m, err := parse(b)
	if err != nil {
		return Opened{}, err
	}
	if m.Format != mls.WirePrivate || !bytes.Equal(m.GroupID(), s.group.ID()) {
		return Opened{}, fmt.Errorf("not a private message of this group: %w", ErrOthers)
	}
	if m.Epoch() > s.Epoch() {
		if s.Removed() {
			return Opened{}, fmt.Errorf("this device was removed: %w", ErrBroken)
		}
		return Opened{}, fmt.Errorf("epoch %d in epoch %d: %w", m.Epoch(), s.Epoch(), ErrEarly)
	}
	if m.Content() == mls.ContentApplication {
		return s.openPayload(m)
	}
	if m.Epoch() < s.Epoch() {
		return Opened{}, fmt.Errorf("commit of epoch %d in epoch %d: %w", m.Epoch(), s.Epoch(), ErrLate)
	}
	c, err := s.openCommit(m, b)
	if err != nil {
		return Opened{}, err
	}
	return Opened{From: c.From, Change: c}, nil
}

func (s *Session) openPayload(m *mls.Message) (Opened, error) {
	r, err := s.group.Receive(m, nil)
	if err != nil {
		return Opened{}, meaning(err)
	}
	from := member(r.Leaf)
	p, err := s.decode(from, r.Data)
	if err != nil {
		return Opened{}, fmt.Errorf("%w: %w", ErrForbidden, err)
	}
	return Opened{From: from, Payload: p}, nil
}

// meaning says what an error of MLS means for the caller.
func meaning(err error) error {
	switch {
	case errors.Is(err, mls.ErrConsumed):
		return fmt.Errorf("%w: %w", ErrSpent, err)
	case errors.Is(err, mls.ErrWrongEpoch):
		return fmt.Errorf("%w: %w", ErrLate, err)
	case errors.Is(err, mls.ErrUnauthentic), errors.Is(err, mls.ErrTooFarAhead), errors.Is(err, mls.ErrNotMember):
		return fmt.Errorf("%w: %w", ErrBroken, err)
	}
	// It opened, so a member made it, and it is against the rules of MLS or ours.
	return fmt.Errorf("%w: %w", ErrForbidden, err)
}

// openCommit checks a commit, or anything else that is no payload, on a copy: the
// session does not change until the commit is merged.
func (s *Session) openCommit(m *mls.Message, b []byte) (*Change, error) {
	copied, err := s.group.Clone()
	if err != nil {
		return nil, err
	}
	st, err := stage(copied, m)
	if err != nil {
		return nil, err
	}
	c := s.changeOf(st)
	c.opened = bytes.Clone(b)
	c.Message = c.opened
	if err := s.o.Judge.confirmed(append([]Member{c.From}, c.Added...)...); err != nil {
		return nil, err
	}
	return c, s.o.Judge.gone(c.Removed...)
}

// stage receives a commit and checks that it does nothing but what it may.
func stage(g *mls.Group, m *mls.Message) (*mls.Staged, error) {
	r, err := g.Receive(m, nil)
	if err != nil {
		return nil, meaning(err)
	}
	if r.Commit == nil {
		return nil, fmt.Errorf("%v sends a proposal by itself: %w", member(r.Leaf), ErrForbidden)
	}
	for _, p := range r.Commit.Proposals() {
		if p.Type != mls.ProposalAdd && p.Type != mls.ProposalRemove {
			return nil, fmt.Errorf("%v proposes type 0x%04x: %w", member(r.Leaf), uint16(p.Type), ErrForbidden)
		}
	}
	// Without Updates, the only leaf that can be new is the committer's own.
	if len(r.Commit.Updated()) == 0 {
		return nil, fmt.Errorf("%v does not renew his keys: %w", member(r.Leaf), ErrForbidden)
	}
	return r.Commit, nil
}
