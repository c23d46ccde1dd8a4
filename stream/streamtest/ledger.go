package streamtest

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"sync"

	"github.com/confab-chat/confab/stream"
)

// A Ledger knows every message that writers sent. Each message names its writer
// and its place among that writer's, so that any reader can be checked.
type Ledger struct {
	mu       sync.Mutex
	sent     map[stream.ID]map[stream.MessageID][]byte
	answered map[stream.ID]map[stream.MessageID]uint64 // the number it was told
}

// NewLedger returns an empty ledger.
func NewLedger() *Ledger {
	return &Ledger{
		sent:     make(map[stream.ID]map[stream.MessageID][]byte),
		answered: make(map[stream.ID]map[stream.MessageID]uint64),
	}
}

// Message makes the n-th message of a writer, with a body of some size that has
// at least 16 bytes, and notes it.
func (l *Ledger) Message(id stream.ID, writer, n, size int) stream.Message {
	body := make([]byte, max(size, 16))
	binary.BigEndian.PutUint64(body, uint64(writer))
	binary.BigEndian.PutUint64(body[8:], uint64(n))
	sum := sha256.Sum256(append(id[:], body[:16]...))
	for i := 16; i < len(body); i++ {
		body[i] = sum[i%32] ^ byte(i)
	}
	m := stream.Message{ID: stream.MessageID(sum[:]), Body: body}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.sent[id] == nil {
		l.sent[id] = make(map[stream.MessageID][]byte)
		l.answered[id] = make(map[stream.MessageID]uint64)
	}
	l.sent[id][m.ID] = body
	return m
}

// Answered notes that a store said a message is durable. It returns an error if
// the message was told another number before.
func (l *Ledger) Answered(id stream.ID, m stream.MessageID, seq uint64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if old := l.answered[id][m]; old != 0 && old != seq {
		return fmt.Errorf("message %s got number %d, and then %d", m, old, seq)
	}
	l.answered[id][m] = seq
	return nil
}

// Count returns how many messages were answered.
func (l *Ledger) Count() (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, a := range l.answered {
		n += len(a)
	}
	return n
}

// A Tape is what one reader has seen of a stream.
type Tape struct {
	Entries []stream.Entry
	Gone    uint64 // how many entries it was told are gone
	last    uint64
}

// Add takes a page that the reader got for what follows the page before. It
// returns an error if the page does not follow.
func (t *Tape) Add(p stream.Page) error {
	if p.After < t.last {
		return fmt.Errorf("page begins after %d, reader was at %d", p.After, t.last)
	}
	t.Gone += p.After - t.last
	t.last = p.After
	for _, e := range p.Entries {
		if e.Seq != t.last+1 {
			return fmt.Errorf("entry %d follows entry %d", e.Seq, t.last)
		}
		t.last = e.Seq
		t.Entries = append(t.Entries, e)
	}
	if p.Head < t.last {
		return fmt.Errorf("page ends at %d, its head is %d", t.last, p.Head)
	}
	return nil
}

// Last returns the number that the tape has come to.
func (t *Tape) Last() uint64 { return t.last }

// Check compares a reader's tape, from the stream's beginning, with what was
// sent. All that was answered must be on it, unless it was told that entries are
// gone; nothing may be on it twice; each writer's messages must be in order; and
// nothing may be on it that nobody sent.
func (l *Ledger) Check(id stream.ID, t *Tape) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	seen := make(map[stream.MessageID]uint64)
	place := make(map[uint64]uint64) // writer to its last message
	for _, e := range t.Entries {
		body, ok := l.sent[id][e.ID]
		if !ok || string(body) != string(e.Body) {
			return fmt.Errorf("entry %d was never sent like that", e.Seq)
		}
		if old, ok := seen[e.ID]; ok {
			return fmt.Errorf("message %s is there twice, as %d and %d", e.ID, old, e.Seq)
		}
		seen[e.ID] = e.Seq
		writer, n := binary.BigEndian.Uint64(body), binary.BigEndian.Uint64(body[8:])
		if last, ok := place[writer]; ok && n <= last {
			return fmt.Errorf("writer %d: message %d comes after message %d", writer, n, last)
		}
		place[writer] = n
	}
	lost := 0
	for m, seq := range l.answered[id] {
		switch at, ok := seen[m]; {
		case ok && at != seq:
			return fmt.Errorf("message %s was answered as %d and is at %d", m, seq, at)
		case !ok:
			lost++
		}
	}
	if uint64(lost) > t.Gone {
		return fmt.Errorf("%d answered messages are missing, of which %d were said to be gone", lost, t.Gone)
	}
	return nil
}

// CheckAll reads every stream that messages were sent to, from its beginning,
// checks what is there, and that it gives the head that the store says it has.
func (l *Ledger) CheckAll(ctx context.Context, log stream.Log) error {
	l.mu.Lock()
	var ids []stream.ID
	for id := range l.sent {
		ids = append(ids, id)
	}
	l.mu.Unlock()
	for _, id := range ids {
		state, err := log.State(ctx, id)
		if err != nil {
			return fmt.Errorf("stream %s: %w", id, err)
		}
		tape := &Tape{}
		for tape.Last() < state.Head.Seq {
			page, err := log.Range(ctx, id, tape.Last(), stream.MaxPage)
			if err != nil {
				return fmt.Errorf("stream %s: %w", id, err)
			}
			if err := tape.Add(page); err != nil {
				return fmt.Errorf("stream %s: %w", id, err)
			}
			if page.Last() == page.Head {
				break
			}
		}
		if err := l.Check(id, tape); err != nil {
			return fmt.Errorf("stream %s: %w", id, err)
		}
		if tape.Gone == 0 && stream.Genesis(id).Follow(tape.Entries) != state.Head {
			return fmt.Errorf("stream %s: its entries do not give its head", id)
		}
	}
	return nil
}
