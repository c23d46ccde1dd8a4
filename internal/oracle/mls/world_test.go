package mls_test

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/confab-chat/confab/talk/mls"
)

// world is a random group and everybody in it.
type world struct {
	t     *testing.T
	rng   *rand.Rand
	keys  io.Reader // of talk/mls
	suite mls.CipherSuite
	ts    *child
	kinds []string

	seats   []*seat
	coming  []client // added by the next commit
	born    int      // clients made so far
	psks    int
	epoch   uint64
	counts  map[string]int
	history []string
}

// seat is a member with the messages that it has not read yet.
type seat struct {
	client client
	member member
	late   []sent
}

type sent struct {
	epoch   uint64
	message []byte
	data    []byte
}

func (w *world) note(format string, args ...any) {
	w.history = append(w.history, fmt.Sprintf("epoch %d: ", w.epoch)+fmt.Sprintf(format, args...))
}

func (s *seat) String() string {
	v, err := s.member.state()
	if err != nil {
		return s.client.kind() + " (no state)"
	}
	return fmt.Sprintf("%s at leaf %d", s.client.kind(), v.leaf)
}

func (w *world) newClient() (c client, err error) {
	identity := fmt.Sprintf("client-%03d", w.born)
	w.born++
	switch w.kinds[w.rng.IntN(len(w.kinds))] {
	case "talk/mls":
		c, err = newOurClient(identity, w.suite, w.keys)
	case "mls-go":
		c, err = newGoClient(identity, w.suite)
	default:
		c, err = newTSClient(w.ts, identity, w.suite)
	}
	for i := range w.psks {
		if err == nil {
			err = c.learn(pskNumber(i))
		}
	}
	return c, err
}

func pskNumber(i int) (id, psk []byte) {
	return fmt.Appendf(nil, "psk-%d", i), bytes.Repeat([]byte{byte(i), byte(i >> 8)}, 16)
}

func wrap(what string, err error) error {
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// agree compares the views of all members.
func (w *world) agree() error {
	var first view
	for i, s := range w.seats {
		v, err := s.member.state()
		if err != nil {
			return err
		}
		if i == 0 {
			first = v
		} else if err := first.same(v); err != nil {
			return fmt.Errorf("%v and %v: %w", w.seats[0], s, err)
		}
	}
	w.epoch = first.epoch
	return nil
}

// read lets one member read a message; ours must refuse a damaged copy before
// and a replay after.
func (w *world) read(s *seat, m sent) error {
	ours, isOurs := s.member.(*ourMember)
	if isOurs && w.maybe(20) {
		if err := ours.mustRefuse(w.damage(m.message)); err != nil {
			return fmt.Errorf("%v, damaged message: %w", s, err)
		}
		w.counts["damaged"]++
	}
	data, err := s.member.receive(m.message)
	if err != nil {
		return fmt.Errorf("%v reads a message of epoch %d: %w", s, m.epoch, err)
	}
	if !bytes.Equal(data, m.data) {
		return fmt.Errorf("%v reads something else", s)
	}
	if isOurs && w.maybe(30) {
		if err := ours.mustRefuse(m.message); err != nil {
			return fmt.Errorf("%v, replay: %w", s, err)
		}
		w.counts["replays"]++
	}
	return nil
}

func (w *world) damage(message []byte) []byte {
	b := bytes.Clone(message)
	b[w.rng.IntN(len(b))] ^= 1 << w.rng.IntN(8)
	return b
}

// readLate reads what is two epochs old, in random order, and perhaps more.
func (w *world) readLate() error {
	for _, s := range w.seats {
		w.rng.Shuffle(len(s.late), func(i, j int) { s.late[i], s.late[j] = s.late[j], s.late[i] })
		var rest []sent
		for _, m := range s.late {
			if w.epoch < m.epoch+2 && w.maybe(60) {
				rest = append(rest, m)
				continue
			}
			if err := w.read(s, m); err != nil {
				return fmt.Errorf("late, in epoch %d: %w", w.epoch, err)
			}
			w.counts["late"]++
		}
		s.late = rest
	}
	return nil
}

// settle lets the members on mls-go read all they have: it cannot read late
// messages of those who have left since, nor from before a change of the group
// context's extensions (see TestMLSGo_LosesLateMessages).
func (w *world) settle() error {
	for _, s := range w.seats {
		if _, isGo := s.member.(*goMember); !isGo {
			continue
		}
		for _, m := range s.late {
			if err := w.read(s, m); err != nil {
				return err
			}
		}
		s.late = nil
	}
	return nil
}

// deliver brings a handshake message to all but its sender.
func (w *world) deliver(from *seat, message []byte) error {
	for _, s := range w.seats {
		if s == from {
			continue
		}
		if ours, ok := s.member.(*ourMember); ok {
			if err := w.disturb(ours, message); err != nil {
				return fmt.Errorf("%v: %w", s, err)
			}
		}
		if _, err := s.member.receive(message); err != nil {
			return fmt.Errorf("%v receives: %w", s, err)
		}
		if ours, ok := s.member.(*ourMember); ok && w.maybe(25) {
			if err := ours.mustRefuse(message); err != nil {
				return fmt.Errorf("%v, handshake message again: %w", s, err)
			}
			w.counts["replays"]++
		}
	}
	return nil
}

// disturb gives a member of ours what must not hinder it from following: a
// damaged copy of the message to come, or a commit of its own that loses.
func (w *world) disturb(m *ourMember, message []byte) error {
	if w.maybe(25) {
		if err := m.mustRefuse(w.damage(message)); err != nil {
			return fmt.Errorf("damaged handshake message: %w", err)
		}
		w.counts["damaged"]++
	}
	if w.maybe(10) {
		o := mls.CommitOptions{Path: true, IgnorePending: true, Framing: m.framing(w.maybe(50))}
		if _, err := m.g.Commit(m.c.rand, o); err != nil {
			return fmt.Errorf("commit that loses: %w", err)
		}
		m.save()
		w.counts["lost commits"]++
	}
	return nil
}
