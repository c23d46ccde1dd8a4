package e2ee

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/confab-chat/confab/talk/mls"
)

// mlsHead is how a message of MLS 1.0 begins (RFC 9420 §6), before its wire format.
const mlsHead = "\x00\x01\x00"

// IsWelcome reports whether a message is a Welcome, by its first bytes.
func IsWelcome(b []byte) bool {
	return len(b) > 4 && string(b[:3]) == mlsHead && b[3] == byte(mls.WireWelcome)
}

// GroupOf returns the group and the epoch that a private message says it is of,
// by which to find its session. It proves nothing.
func GroupOf(b []byte) (id []byte, epoch uint64, ok bool) {
	m, err := parse(b)
	if err != nil || m.Format != mls.WirePrivate {
		return nil, 0, false
	}
	return m.GroupID(), m.Epoch(), true
}

// IsCommit reports whether a private message says that it is a commit. If Open
// refuses one of the current epoch with ErrForbidden, and it has the slot, the
// session cannot go on.
func IsCommit(b []byte) bool {
	m, err := parse(b)
	return err == nil && m.Format == mls.WirePrivate && m.Content() == mls.ContentCommit
}

func parse(b []byte) (*mls.Message, error) {
	if len(b) > MaxMessage {
		return nil, fmt.Errorf("%d bytes, at most %d are allowed", len(b), MaxMessage)
	}
	return mls.ParseMessage(b)
}

// Enter takes a Welcome. secret returns the secret of the offer with a name, nil if
// this device has none; it returns the name of the offer that was used, whose
// secret is to be deleted with the write of the session's delta.
//
// Every member must be a device of a party that the judge confirms, the one who
// sent it too, or the error is a *StaleError. Whether the instance replaces the
// current one the caller asks Newer, before he stores the session.
//
// Errors: ErrOthers, ErrForbidden, a *StaleError, the judge's own, or that the
// Welcome is broken.
func Enter(now time.Time, o Options, welcome []byte, secret func(ref []byte) []byte) (s *Session, ref []byte, err error) {
	s, ref, err = enter(now, o, welcome, secret)
	if err != nil {
		return nil, nil, fmt.Errorf("enter by Welcome: %w", err)
	}
	return s, ref, nil
}

// StaleError says that a Welcome lets in somebody, or was sent by somebody, who is
// not listed, or not any more: mostly it waited while a device was removed. Others
// may have entered in time. So if what it invites to is Newer than the current
// instance, make one with the number after it, for all.
type StaleError struct {
	From     Member
	Instance uint64
	Group    []byte
	Err      error
}

func (e *StaleError) Error() string {
	return fmt.Sprintf("instance %d by %v has members who are not listed: %v", e.Instance, e.From, e.Err)
}

// Unwrap returns ErrForbidden with what the judge said.
func (e *StaleError) Unwrap() error { return e.Err }

func enter(now time.Time, o Options, welcome []byte, secret func(ref []byte) []byte) (*Session, []byte, error) {
	o, err := o.checked()
	if err != nil {
		return nil, nil, err
	}
	m, err := parse(welcome)
	if err != nil {
		return nil, nil, err
	}
	if m.Welcome == nil {
		return nil, nil, fmt.Errorf("it is no Welcome")
	}
	refs := m.Welcome.Refs()
	if len(refs) > MaxMembers {
		return nil, nil, fmt.Errorf("for %d members, at most %d are allowed", len(refs), MaxMembers)
	}
	own, err := firstOwn(refs, secret)
	if err != nil {
		return nil, nil, err
	}
	if !own.Member.Is(o.Self) {
		return nil, nil, fmt.Errorf("the offer is another device's: %w", ErrOthers)
	}
	if now.After(own.Expires().Add(travel)) {
		return nil, nil, fmt.Errorf("the offer has expired")
	}
	group, info, err := mls.Join(m.Welcome, own.kp, own.keys, mls.JoinOptions{Signer: o.Signer.MLS(), Policy: o.policy()})
	if errors.Is(err, mls.ErrInvalid) {
		return nil, nil, fmt.Errorf("%w: %w", ErrForbidden, err)
	} else if err != nil {
		return nil, nil, err
	}
	s, err := newSession(o, group)
	if err != nil && !errors.Is(err, ErrOthers) {
		return nil, nil, fmt.Errorf("%w: %w", ErrForbidden, err)
	} else if err != nil {
		return nil, nil, err
	}
	from := member(group.Leaf(info.Signer))
	return s, own.Ref(), s.judgeAll(from)
}

// judgeAll asks the judge about everyone in a group that somebody else made.
func (s *Session) judgeAll(from Member) error {
	all := s.Members()
	if len(all) > MaxMembers {
		return fmt.Errorf("%d members, at most %d are allowed: %w", len(all), MaxMembers, ErrForbidden)
	}
	err := s.o.Judge.confirmed(append([]Member{from}, slices.DeleteFunc(all, from.Is)...)...)
	if refusal(err) {
		return &StaleError{From: from, Instance: s.terms.Instance, Group: s.Group(), Err: err}
	}
	return err
}
