package e2ee

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/confab-chat/confab/namesvc/key"
	"github.com/confab-chat/confab/talk/message"
	"github.com/confab-chat/confab/talk/mls"
)

// Options say who takes part in a session, and for whom.
type Options struct {
	Self    Member
	Signer  key.Device // of Self
	Judge   Judge
	Parties []message.Party // of the conversation: both, or one alone with its devices
}

// checked checks the options and puts the parties in order.
func (o Options) checked() (Options, error) {
	parties, err := sorted(o.Parties)
	if err != nil {
		return o, err
	}
	o.Parties = parties
	switch {
	case o.Judge == nil:
		return o, fmt.Errorf("nobody judges the members")
	case o.Self.Device != o.Signer.Public():
		return o, fmt.Errorf("the signing key is not the device's")
	case !o.includes(o.Self):
		return o, fmt.Errorf("this device is of neither party")
	}
	return o, o.Self.check()
}

// includes reports whether a member is of one of the parties.
func (o Options) includes(m Member) bool { return slices.Contains(o.Parties, m.Party()) }

// policy is what MLS asks of the application. It checks form only: the judge may
// take a network and is asked when everything else has been checked.
func (o Options) policy() mls.Policy {
	return mls.Policy{KeepEpochs: keepEpochs, Check: func(c mls.Candidate) error {
		if c.Leaf == nil {
			return fmt.Errorf("somebody outside may propose")
		}
		m, err := memberOf(c.Leaf)
		if err != nil {
			return err
		}
		if !o.includes(m) {
			return fmt.Errorf("%v is of neither party", m)
		}
		if c.Replaces == nil {
			return nil
		}
		if before, err := memberOf(c.Replaces); err != nil || !before.Is(m) {
			return fmt.Errorf("%v takes the place of somebody else", m)
		}
		return nil
	}}
}

// Session is one device's state of one instance of a conversation: an MLS group.
// It is not for use by several goroutines at once. After each operation that
// succeeds, and after an Open that returns ErrForbidden, TakeDelta says what to
// store before anything is sent or acted on.
type Session struct {
	o     Options
	terms terms
	group *mls.Group
}

// Create starts an instance with the devices whose offers are given, and returns
// the Welcome for all of them: nil if there are none. Let everyone in at once; who
// has no offer can be added later by Commit.
func Create(rand io.Reader, now time.Time, o Options, instance uint64, offers []Offer) (s *Session, welcome []byte, err error) {
	s, welcome, err = create(rand, now, o, instance, offers)
	if err != nil {
		return nil, nil, fmt.Errorf("create session: %w", err)
	}
	return s, welcome, nil
}

func create(rand io.Reader, now time.Time, o Options, instance uint64, offers []Offer) (*Session, []byte, error) {
	o, err := o.checked()
	if err != nil {
		return nil, nil, err
	}
	t, err := newTerms(o.Parties, instance)
	if err != nil {
		return nil, nil, err
	}
	members := []Member{o.Self}
	for _, offer := range offers {
		if err := o.admits(offer, now, members); err != nil {
			return nil, nil, err
		}
		members = append(members, offer.Member)
	}
	if err := o.Judge.confirmed(members...); err != nil {
		return nil, nil, err
	}
	id := make([]byte, groupIDSize)
	if _, err := io.ReadFull(rand, id); err != nil {
		return nil, nil, fmt.Errorf("read randomness: %w", err)
	}
	group, err := mls.Create(rand, suite, id, o.Signer.MLS(), o.Self.template(), t.extensions(), o.policy())
	if err != nil {
		return nil, nil, err
	}
	first, err := group.Commit(rand, mls.CommitOptions{Proposals: additions(offers), Path: true, IgnorePending: true})
	if err != nil {
		return nil, nil, err
	}
	if len(first.Welcome) > MaxMessage {
		return nil, nil, fmt.Errorf("the Welcome has %d bytes, at most %d are allowed", len(first.Welcome), MaxMessage)
	}
	return &Session{o, t, group}, first.Welcome, group.Merge(first.Staged)
}

// admits checks an offer that is to be added beside the given members.
func (o Options) admits(offer Offer, now time.Time, beside []Member) error {
	if err := offer.valid(now); err != nil {
		return fmt.Errorf("offer of %v: %w", offer.Member, err)
	}
	if !o.includes(offer.Member) {
		return fmt.Errorf("offer of %v: it is of neither party", offer.Member)
	}
	if slices.ContainsFunc(beside, offer.Member.Is) {
		return fmt.Errorf("offer of %v: it is a member already", offer.Member)
	}
	if len(beside) >= MaxMembers {
		return fmt.Errorf("offer of %v: %d members are the most", offer.Member, MaxMembers)
	}
	return nil
}

func additions(offers []Offer) []mls.Proposal {
	list := make([]mls.Proposal, len(offers))
	for i, o := range offers {
		list[i] = mls.AddProposal(o.kp)
	}
	return list
}

// Load rebuilds a session from its records, in any order.
func Load(o Options, records []mls.Record) (*Session, error) {
	s, err := load(o, records)
	if err != nil {
		return nil, fmt.Errorf("load session: %w", err)
	}
	return s, nil
}

func load(o Options, records []mls.Record) (*Session, error) {
	o, err := o.checked()
	if err != nil {
		return nil, err
	}
	group, err := mls.Load(records, o.policy(), o.Signer.MLS())
	if err != nil {
		return nil, err
	}
	return newSession(o, group)
}

// newSession checks that a group is one of this conversation.
func newSession(o Options, group *mls.Group) (*Session, error) {
	t, err := termsOf(group.Extensions())
	if err != nil {
		return nil, err
	}
	if err := t.check(o.Parties); err != nil {
		return nil, err
	}
	s := &Session{o, t, group}
	if group.Suite() != suite || len(group.ID()) != groupIDSize {
		return nil, fmt.Errorf("the group is not of this kind")
	}
	for _, m := range group.Members() {
		if m, err := memberOf(m.Leaf); err != nil || !o.includes(m) {
			return nil, fmt.Errorf("a member is of neither party")
		}
	}
	if !s.own().Is(o.Self) {
		return nil, fmt.Errorf("the state is another device's: %w", ErrOthers)
	}
	return s, nil
}

// own returns who this device is in the group.
func (s *Session) own() Member { return member(s.group.Leaf(s.group.Self())) }

// member returns who a leaf is. Every leaf that got into a group was checked.
func member(l *mls.LeafNode) Member {
	m, _ := memberOf(l)
	return m
}

func members(list []mls.Member) []Member {
	out := make([]Member, len(list))
	for i, m := range list {
		out[i] = member(m.Leaf)
	}
	return out
}

// Conversation returns the conversation that the session is of.
func (s *Session) Conversation() message.ConversationID { return s.terms.Conversation }

// Group returns the id of the MLS group: 32 bytes.
func (s *Session) Group() []byte { return s.group.ID() }

// Instance returns the number of this instance of the conversation.
func (s *Session) Instance() uint64 { return s.terms.Instance }

// Epoch returns the current epoch. The commit that ends it is in its slot.
func (s *Session) Epoch() uint64 { return s.group.Epoch() }

// Members lists all members, this device among them.
func (s *Session) Members() []Member { return members(s.group.Members()) }

// Removed reports whether this device was removed. The session then reads what
// was sent before, and nothing else.
func (s *Session) Removed() bool { return s.group.Removed() }

// TakeDelta returns what changed since the last call. Write it in one atomic step
// before a message that was made leaves, and before what was received is acted on;
// if the write fails, drop the session and Load it again.
func (s *Session) TakeDelta() mls.Delta { return s.group.TakeDelta() }

// Format writes which session it is, whatever the verb.
func (s *Session) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "e2ee.Session(instance %d, epoch %d, %v)", s.terms.Instance, s.group.Epoch(), s.o.Self)
}

// Newer reports whether instance a of a conversation replaces instance b: by its
// number; of two with one number the lower group id counts, so that two that were
// made at the same time come to one for everybody. Where there is none yet, b is 0
// and nil. A number more than MaxStep higher replaces nothing.
func Newer(aInstance uint64, aGroup []byte, bInstance uint64, bGroup []byte) bool {
	if aInstance == bInstance {
		return bytes.Compare(aGroup, bGroup) < 0
	}
	return aInstance > bInstance && aInstance-bInstance <= MaxStep
}
