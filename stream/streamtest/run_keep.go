package streamtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/stream"
)

func (s *suite) acknowledge() {
	phone, laptop := stream.Reader{1}, stream.Reader{2}
	id := s.stream(stream.Settings{Readers: []stream.Reader{phone, laptop}})
	s.fill(id, 1, 100, 50)
	ack := func(r stream.Reader, seq uint64) {
		s.Helper()
		s.must(s.Store.Acknowledge(s.ctx, id, r, seq))
	}
	baseIs := func(want uint64) {
		s.Helper()
		s.eventually(fmt.Sprintf("base %d", want), func() bool { return s.state(id).Base == want })
	}
	ack(phone, 100)
	if page, err := s.Store.Range(s.ctx, id, 0, 1000); err != nil || page.After != 0 {
		s.Fatalf("what one reader still needs is gone: %+v, %v", page, err)
	}
	ack(laptop, 30)
	baseIs(30)
	ack(laptop, 20) // late; it does not move back
	ack(laptop, 35)
	baseIs(35)
	state := s.state(id)
	if state.Entries() != 65 || state.Bytes != 65*50 || state.Cursors[phone] != 100 || state.Cursors[laptop] != 35 {
		s.Fatalf("state is %+v", state)
	}
	s.want(s.Store.Acknowledge(s.ctx, id, laptop, 101), stream.ErrAhead)
	s.want(s.Store.Acknowledge(s.ctx, id, stream.Reader{3}, 1), stream.ErrUnknownReader)
	ack(laptop, 100)
	baseIs(100)
	s.fill(id, 101, 110, 50)
	if e := s.all(id, 100).Entries; len(e) != 10 {
		s.Fatalf("%d entries after all were acknowledged", len(e))
	}
}

func (s *suite) readers() {
	a, b := stream.Reader{1}, stream.Reader{2}
	id := s.stream(stream.Settings{Readers: []stream.Reader{a}})
	s.fill(id, 1, 10, 50)
	s.must(s.Store.Acknowledge(s.ctx, id, a, 4))
	s.eventually("base 4", func() bool { return s.state(id).Base == 4 })
	s.must(s.Store.Configure(s.ctx, id, stream.Settings{Readers: []stream.Reader{a, b}, MaxEntries: 20}))
	state := s.state(id)
	if state.Cursors[a] != 4 || state.Cursors[b] != 4 || state.Settings.MaxEntries != 20 {
		s.Fatalf("state with a new reader is %+v", state)
	}
	s.must(s.Store.Acknowledge(s.ctx, id, a, 9))
	s.must(s.Store.Configure(s.ctx, id, stream.Settings{Readers: []stream.Reader{a}}))
	s.eventually("base 9", func() bool { return s.state(id).Base == 9 }) // b holds nothing back any more
	s.want(s.Store.Acknowledge(s.ctx, id, b, 9), stream.ErrUnknownReader)
	s.Store = s.Again()
	state = s.state(id)
	if len(state.Cursors) != 1 || state.Cursors[a] != 9 || state.Base != 9 {
		s.Fatalf("state after a restart is %+v", state)
	}
}

func (s *suite) trimmed() {
	id := s.stream(stream.Settings{})
	s.fill(id, 1, 100, 50)
	s.must(s.Store.Trim(s.ctx, id, 60))
	s.must(s.Store.Trim(s.ctx, id, 10)) // nothing left to do
	tape := s.all(id, 5)
	if tape.Gone != 55 || len(tape.Entries) != 40 || tape.Entries[0].Seq != 61 {
		s.Fatalf("%d gone, %d entries from %d", tape.Gone, len(tape.Entries), tape.Entries[0].Seq)
	}
	if state := s.state(id); state.Base != 60 || state.Bytes != 40*50 {
		s.Fatalf("state is %+v", state)
	}
}

func (s *suite) quota() {
	me := stream.Reader{1}
	for _, settings := range []stream.Settings{
		{MaxEntries: 10, Readers: []stream.Reader{me}},
		{MaxBytes: 10*50 + 49, Readers: []stream.Reader{me}},
	} {
		id := s.stream(settings)
		s.fill(id, 1, 10, 50)
		_, err := stream.Append(s.ctx, s.Store, id, message(11, 50))
		s.want(err, stream.ErrFull)
		if wire.CodeOf(err) != wire.Exhausted {
			s.Fatalf("kind is %s", wire.CodeOf(err))
		}
		s.must(s.Store.Acknowledge(s.ctx, id, me, 1))
		s.eventually("base 1", func() bool { return s.state(id).Base == 1 })
		if seq := s.append(id, message(11, 50)); seq != 11 {
			s.Fatalf("the next got number %d", seq)
		}
		_, err = stream.Append(s.ctx, s.Store, id, message(12, 50))
		s.want(err, stream.ErrFull)
	}
}

func (s *suite) expiry() {
	short, long := s.stream(stream.Settings{TTL: 24 * time.Hour}), s.stream(stream.Settings{TTL: 100 * 24 * time.Hour})
	ever := s.stream(stream.Settings{})
	for _, id := range []stream.ID{short, long, ever} {
		s.fill(id, 1, 50, 50)
	}
	s.Pass(20 * time.Hour)
	for _, id := range []stream.ID{short, long, ever} {
		s.fill(id, 51, 60, 50)
	}
	s.must(s.Sweep(s.ctx))
	if base := s.state(short).Base; base != 0 {
		s.Fatalf("swept up to %d before its time", base)
	}
	s.Pass(5 * time.Hour)
	s.must(s.Sweep(s.ctx))
	for id, want := range map[stream.ID]uint64{short: 50, long: 0, ever: 0} {
		if base := s.state(id).Base; base != want {
			s.Fatalf("swept up to %d, want %d", base, want)
		}
	}
	if tape := s.all(short, 0); tape.Gone != 50 || len(tape.Entries) != 10 {
		s.Fatalf("%d gone, %d entries", tape.Gone, len(tape.Entries))
	}
}

func (s *suite) deletes() {
	id, other := s.stream(stream.Settings{Readers: []stream.Reader{{1}}}), s.stream(stream.Settings{})
	s.fill(id, 1, 20, 50)
	s.fill(other, 1, 20, 50)
	s.must(s.Store.Acknowledge(s.ctx, id, stream.Reader{1}, 3))
	s.must(s.Store.Delete(s.ctx, id))
	_, err := s.Store.Range(s.ctx, id, 0, 1000)
	s.want(err, stream.ErrNotFound)
	_, err = stream.Append(s.ctx, s.Store, id, message(21, 50))
	s.want(err, stream.ErrNotFound)
	s.must(s.Store.Configure(s.ctx, id, stream.Settings{Readers: []stream.Reader{{1}}}))
	if state := s.state(id); state.Head != stream.Genesis(id) || state.Base != 0 || state.Bytes != 0 || state.Cursors[stream.Reader{1}] != 0 {
		s.Fatalf("the new stream is %+v", state)
	}
	s.fill(id, 1, 3, 50) // the same ids are new to it
	if n := len(s.all(other, 0).Entries); n != 20 {
		s.Fatalf("the other stream has %d entries", n)
	}
}

func (s *suite) restart() {
	ledger := NewLedger()
	var ids []stream.ID
	for range 5 {
		ids = append(ids, s.stream(stream.Settings{MaxEntries: 1000, TTL: time.Hour}))
	}
	for n := range 300 {
		id := ids[n%len(ids)]
		m := ledger.Message(id, 0, n, n*7%900)
		s.must(ledger.Answered(id, m.ID, s.append(id, m)))
		if n%100 == 99 {
			s.Store = s.Again()
			s.must(ledger.CheckAll(s.ctx, s.Store))
		}
	}
	if state := s.state(ids[0]); state.Settings.MaxEntries != 1000 || state.Settings.TTL != time.Hour {
		s.Fatalf("settings are %+v", state.Settings)
	}
}

func (s *suite) closed() {
	id := s.stream(stream.Settings{})
	s.fill(id, 1, 3, 50)
	s.must(s.Store.Close())
	s.must(s.Store.Close())
	_, err := stream.Append(s.ctx, s.Store, id, message(4, 50))
	s.want(err, stream.ErrClosed)
	_, err = s.Store.Range(s.ctx, id, 0, 1000)
	s.want(err, stream.ErrClosed)
	s.want(s.Store.Trim(s.ctx, id, 1), stream.ErrClosed)
}

// bell notes what a Watcher is told.
type bell struct {
	mu    sync.Mutex
	rings int
	seq   uint64
	heard [][]byte
	ring  chan struct{}
}

func newBell() *bell { return &bell{ring: make(chan struct{}, 1)} }

func (b *bell) Woken(seq uint64) {
	b.mu.Lock()
	b.rings++
	b.seq = max(b.seq, seq)
	b.mu.Unlock()
	select {
	case b.ring <- struct{}{}:
	default:
	}
}

func (b *bell) Heard(body []byte) {
	b.mu.Lock()
	b.heard = append(b.heard, bytes.Clone(body))
	b.mu.Unlock()
}

func (b *bell) told() (rings int, seq uint64, heard [][]byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.rings, b.seq, b.heard
}

func (s *suite) wakes() {
	id, other := s.stream(stream.Settings{}), s.stream(stream.Settings{})
	a, b, c := newBell(), newBell(), newBell()
	var stops []func()
	for at, w := range map[*bell]stream.ID{a: id, b: id, c: other} {
		stop, err := s.Store.Watch(s.ctx, w, at)
		s.must(err)
		stops = append(stops, stop)
	}
	s.fill(id, 1, 10, 50)
	for _, w := range []*bell{a, b} {
		s.eventually("wake", func() bool { _, seq, _ := w.told(); return seq == 10 })
	}
	if _, seq, _ := c.told(); seq != 0 {
		s.Fatalf("the other stream's watcher was told %d", seq)
	}
	if page, err := s.Store.Range(s.ctx, id, 0, stream.MaxPage); err != nil || len(page.Entries) != 10 {
		s.Fatalf("after being woken: %+v, %v", page, err)
	}
	for _, stop := range stops {
		stop()
		stop()
	}
	s.eventually("silence", func() bool { // a call may be under way
		before, _, _ := a.told()
		s.append(id, message(rand.Int(), 50))
		after, _, _ := a.told()
		return before == after
	})
}

func (s *suite) announces() {
	id, other := s.stream(stream.Settings{}), s.stream(stream.Settings{})
	a, b := newBell(), newBell()
	for at, w := range map[*bell]stream.ID{a: id, b: other} {
		stop, err := s.Store.Watch(s.ctx, w, at)
		s.must(err)
		defer stop()
	}
	heard := func() int { _, _, heard := a.told(); return len(heard) }
	s.eventually("announcement", func() bool { // the first may come before the watcher is known
		s.must(s.Store.Announce(s.ctx, id, []byte("is typing")))
		return heard() > 0
	})
	before := heard()
	s.must(s.Store.Announce(s.ctx, id, []byte{}))
	s.eventually("announcement", func() bool {
		_, _, heard := a.told()
		return len(heard) > before && len(heard[len(heard)-1]) == 0
	})
	if _, _, heard := a.told(); string(heard[0]) != "is typing" {
		s.Fatalf("heard %q", heard[0])
	}
	if _, _, heard := b.told(); len(heard) != 0 {
		s.Fatal("the other stream's watcher heard it")
	}
	if s.state(id).Head.Seq != 0 {
		s.Fatal("an announcement was kept")
	}
	s.want(s.Store.Announce(s.ctx, id, make([]byte, stream.MaxAnnouncement+1)), stream.ErrTooLarge)
}

func (s *suite) clockSteps() {
	ledger := NewLedger()
	id := s.stream(stream.Settings{TTL: 8 * time.Hour})
	for n := range 200 {
		m := ledger.Message(id, 0, n, 50)
		s.must(ledger.Answered(id, m.ID, s.append(id, m)))
		switch n % 20 {
		case 3:
			s.Step(-7 * time.Hour)
		case 9:
			s.Step(11 * time.Hour)
		case 15:
			s.must(s.Sweep(s.ctx))
		}
	}
	s.must(ledger.CheckAll(s.ctx, s.Store))
	if base := s.state(id).Base; base != 0 {
		s.Fatalf("%d entries expired", base)
	}
}

// crowd is the soak in small: writers that retry whatever they are told, readers
// that come, read some, and go.
func (s *suite) crowd() {
	const writers, each, streams = 64, 25, 7
	ledger := NewLedger()
	var ids []stream.ID
	for range streams {
		ids = append(ids, s.stream(stream.Settings{}))
	}
	ctx, cancel := context.WithCancel(s.ctx)
	var readers, all sync.WaitGroup
	for i := range 8 {
		readers.Add(1)
		go func() {
			defer readers.Done()
			for ctx.Err() == nil {
				if err := s.visit(ctx, ledger, ids[i%streams]); err != nil && ctx.Err() == nil {
					s.Error(err)
					return
				}
			}
		}()
	}
	for w := range writers {
		all.Add(1)
		go func() {
			defer all.Done()
			for n := range each {
				id := ids[(w+n)%streams]
				m := ledger.Message(id, w, n, 200)
				for range 1 + n%2 { // every other message twice
					r, err := stream.Append(s.ctx, s.Store, id, m)
					if err == nil {
						err = ledger.Answered(id, m.ID, r.Seq)
					}
					if err != nil {
						s.Error(err)
						return
					}
				}
			}
		}()
	}
	all.Wait()
	cancel()
	readers.Wait()
	if n := ledger.Count(); n != writers*each && !s.Failed() {
		s.Errorf("%d answered", n)
	}
	s.must(ledger.CheckAll(s.ctx, s.Store))
}

// visit follows a stream for some pages and checks what it was given.
func (s *suite) visit(ctx context.Context, ledger *Ledger, id stream.ID) error {
	bell := newBell()
	stop, err := s.Store.Watch(ctx, id, bell)
	if err != nil {
		return err
	}
	defer stop()
	tape := &Tape{}
	for range 20 {
		page, err := s.Store.Range(ctx, id, tape.Last(), 2000)
		if err == nil {
			err = tape.Add(page)
		}
		if err != nil {
			return err
		}
		if len(page.Entries) == 0 {
			select {
			case <-bell.ring:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	// What it has seen so far is right, whatever else is answered by now.
	partial := NewLedger()
	ledger.mu.Lock()
	partial.sent[id] = make(map[stream.MessageID][]byte)
	for _, e := range tape.Entries {
		if body, ok := ledger.sent[id][e.ID]; ok {
			partial.sent[id][e.ID] = body
		}
	}
	ledger.mu.Unlock()
	return errors.Join(partial.Check(id, tape))
}
