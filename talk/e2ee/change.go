package e2ee

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/talk/mls"
)

// Change is a commit that is not yet in force: one's own, on its way to the slot,
// or one that was received and passed all rules. Merge puts it in force.
type Change struct {
	Message []byte // of a commit: for the slot, and to the other party
	Welcome []byte // for those added; nil if there are none. Send it after Merge
	Slot    []byte // what names the slot, see WrapCommit; nil for one received
	Epoch   uint64 // the one it ends
	From    Member
	Added   []Member
	Removed []Member

	staged *mls.Staged // of an own commit
	opened []byte      // of one received: the message that passed all rules
}

// change is an own Change as it is stored.
type change struct {
	_       struct{} `cbor:",toarray"`
	Version uint8
	Message []byte
	Welcome []byte
	Slot    []byte
	Staged  []byte
}

// slotLabel derives what names an epoch's slot. Only its members know it.
const slotLabel = "confab slot"

// Due returns what the chain's list of the parties' devices changes: members who
// are not listed any more, this device too if it is so, and listed devices that
// are no members. Entries of other accounts and generations count for nothing.
func (s *Session) Due(listed []Member) (remove, add []Member) {
	in := s.Members()
	for _, m := range in {
		if !slices.ContainsFunc(listed, m.Is) {
			remove = append(remove, m)
		}
	}
	for _, m := range listed {
		if s.o.includes(m) && !slices.ContainsFunc(in, m.Is) && !slices.ContainsFunc(add, m.Is) {
			add = append(add, m)
		}
	}
	return remove, add
}

// Commit makes a commit that renews this device's keys, removes every member who
// is not listed any more, and adds the devices of the offers, which must be listed
// and no members. The session stays in its epoch until Merge. Several may be made,
// and at most one is merged. A device that is not listed itself gets ErrForbidden.
func (s *Session) Commit(rand io.Reader, now time.Time, listed []Member, offers []Offer) (*Change, error) {
	c, err := s.commit(rand, now, listed, offers)
	if err != nil {
		return nil, fmt.Errorf("commit: %w", err)
	}
	return c, nil
}

func (s *Session) commit(rand io.Reader, now time.Time, listed []Member, offers []Offer) (*Change, error) {
	if s.Removed() {
		return nil, fmt.Errorf("this device was removed: %w", ErrBroken)
	}
	remove, _ := s.Due(listed)
	if slices.ContainsFunc(remove, s.o.Self.Is) {
		return nil, fmt.Errorf("this device is not listed: %w", ErrForbidden)
	}
	stay := s.Members()
	var proposals []mls.Proposal
	for _, m := range s.group.Members() {
		if slices.ContainsFunc(remove, member(m.Leaf).Is) {
			proposals = append(proposals, mls.RemoveProposal(m.Index))
			stay = slices.DeleteFunc(stay, member(m.Leaf).Is)
		}
	}
	for _, offer := range offers {
		if err := s.o.admits(offer, now, stay); err != nil {
			return nil, err
		}
		if !slices.ContainsFunc(listed, offer.Member.Is) {
			return nil, fmt.Errorf("offer of %v: it is not listed: %w", offer.Member, ErrForbidden)
		}
		stay = append(stay, offer.Member)
	}
	slot, err := s.group.Export(slotLabel, s.group.ID(), groupIDSize)
	if err != nil {
		return nil, err
	}
	leaf := s.o.Self.template()
	out, err := s.group.Commit(rand, mls.CommitOptions{
		Proposals: append(proposals, additions(offers)...), Path: true, IgnorePending: true, Template: &leaf,
	})
	if err != nil {
		return nil, err
	}
	if n := max(len(out.Message), len(out.Welcome)); n > MaxMessage {
		return nil, fmt.Errorf("it has %d bytes, at most %d are allowed: add fewer at once", n, MaxMessage)
	}
	c := s.changeOf(out.Staged)
	c.Message, c.Welcome, c.Slot, c.staged = out.Message, out.Welcome, slot, out.Staged
	return c, nil
}

// changeOf says what a staged commit does.
func (s *Session) changeOf(st *mls.Staged) *Change {
	return &Change{
		Epoch: s.Epoch(), From: member(s.group.Leaf(st.Committer().Leaf)),
		Added: members(st.Added()), Removed: members(st.Removed()),
	}
}

// Merge puts a change in force. It must be of the current epoch: ErrLate otherwise.
// Write the delta that follows before the next message is sent.
func (s *Session) Merge(c *Change) error {
	if err := s.merge(c); err != nil {
		return fmt.Errorf("merge commit: %w", err)
	}
	return nil
}

func (s *Session) merge(c *Change) error {
	if c.Epoch != s.Epoch() || s.Removed() {
		return fmt.Errorf("it ends epoch %d, this is epoch %d: %w", c.Epoch, s.Epoch(), ErrLate)
	}
	if c.staged != nil {
		return s.group.Merge(c.staged)
	}
	// What was opened on a copy is received in earnest. The judge has spoken.
	if c.opened == nil {
		return fmt.Errorf("it is none that Open or Commit returned")
	}
	m, err := parse(c.opened)
	if err != nil {
		return err
	}
	st, err := stage(s.group, m)
	if err != nil {
		return err
	}
	return s.group.Merge(st)
}

// MarshalBinary encodes an own change, so that it survives a restart between the
// slot and Merge. It holds keys of the epoch to come: store it where the session's
// records are, in the same write as the delta of Commit, and delete it with the
// write after Merge.
func (c *Change) MarshalBinary() ([]byte, error) {
	if c.staged == nil {
		return nil, fmt.Errorf("encode change: only one's own is stored; open another's message again")
	}
	staged, err := c.staged.MarshalBinary()
	if err != nil {
		return nil, fmt.Errorf("encode change: %w", err)
	}
	return wire.Encode(change{Version: version, Message: c.Message, Welcome: c.Welcome, Slot: c.Slot, Staged: staged}), nil
}

// MarshalJSON always fails, so that no structured log shows a change.
func (c *Change) MarshalJSON() ([]byte, error) {
	return nil, errors.New("a change does not marshal as JSON: store what MarshalBinary returns, under encryption")
}

// LoadChange reads what MarshalBinary wrote, in the epoch in which it was made:
// later it gives ErrLate.
func (s *Session) LoadChange(b []byte) (*Change, error) {
	var w change
	if err := wire.Decode(b, &w, maxChange); err != nil {
		return nil, fmt.Errorf("load change: %w", err)
	}
	if w.Version != version {
		return nil, fmt.Errorf("load change: version %d is unknown", w.Version)
	}
	st, err := s.group.LoadStaged(w.Staged)
	if err != nil {
		return nil, fmt.Errorf("load change: %w", meaning(err))
	}
	c := s.changeOf(st)
	if !c.From.Is(s.o.Self) {
		return nil, fmt.Errorf("load change: it is another device's: %w", ErrOthers)
	}
	c.Message, c.Slot, c.staged = w.Message, w.Slot, st
	if len(w.Welcome) > 0 {
		c.Welcome = w.Welcome
	}
	return c, nil
}

// Format writes what the change does, whatever the verb.
func (c *Change) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "e2ee.Change(ends epoch %d, %d added, %d removed)", c.Epoch, len(c.Added), len(c.Removed))
}
