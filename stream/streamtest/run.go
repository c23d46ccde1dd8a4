package streamtest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/stream"
)

// A Subject is a store under test.
type Subject struct {
	Store stream.Store
	// Sweep lets go of what has expired, as the store does by itself in time.
	Sweep func(context.Context) error
	// Pass has the store's machine run for so long; without it, what depends on
	// time is not tested.
	Pass func(time.Duration)
	// Step sets the machine's clock forward or back, all at once.
	Step func(time.Duration)
	// Again closes the store and opens it anew.
	Again func() stream.Store
}

// Run holds a store to the contract. Each call of open returns a store that
// nobody else uses; the store closes when its test ends.
func Run(t *testing.T, open func(t *testing.T) Subject) {
	for _, c := range []struct {
		name  string
		test  func(*suite)
		timed bool
	}{
		{"an append gets the next number", (*suite).numbers, false},
		{"a retry gets its old number", (*suite).retries, false},
		{"a retry gets its old number after its entry is gone", (*suite).retriesAfterTrim, false},
		{"message ids are forgotten after a time, not before", (*suite).forgetsIDs, true},
		{"an id is not used for two bodies", (*suite).reusedID, false},
		{"an append on another head is refused", (*suite).compareAndAppend, false},
		{"one of many that expect the same head wins", (*suite).race, false},
		{"a body may have this many bytes and no more", (*suite).largestBody, false},
		{"pages are bounded by bytes", (*suite).pages, false},
		{"a reader ahead of the stream is told", (*suite).ahead, false},
		{"nothing is done to a stream that is not there", (*suite).missing, false},
		{"the head is the hash of all entries", (*suite).chain, false},
		{"an entry goes when all readers have acknowledged it", (*suite).acknowledge, false},
		{"readers come and go", (*suite).readers, false},
		{"a reader that was away is told what was trimmed", (*suite).trimmed, false},
		{"a full stream refuses, and takes more once it was read", (*suite).quota, false},
		{"what has expired is swept", (*suite).expiry, true},
		{"clocks that step lose nothing", (*suite).clockSteps, true},
		{"a deleted stream is gone, and a new one of its name is new", (*suite).deletes, false},
		{"everything is there after a restart", (*suite).restart, false},
		{"who watches is woken", (*suite).wakes, false},
		{"announcements are passed on and not kept", (*suite).announces, false},
		{"64 writers and readers that come and go", (*suite).crowd, false},
		{"a closed store says so", (*suite).closed, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := &suite{T: t, ctx: t.Context(), Subject: open(t)}
			if c.timed && s.Pass == nil {
				t.Skip("this store is tested without its clock")
			}
			c.test(s)
		})
	}
}

type suite struct {
	*testing.T
	Subject
	ctx context.Context
	ids byte
}

// stream makes a stream.
func (s *suite) stream(settings stream.Settings) stream.ID {
	s.Helper()
	s.ids++
	id := stream.ID(sha256.Sum256([]byte{s.ids}))
	s.must(s.Store.Configure(s.ctx, id, settings))
	return id
}

func (s *suite) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

func (s *suite) want(err, want error) {
	s.Helper()
	if !errors.Is(err, want) {
		s.Fatalf("error is %v, want %v", err, want)
	}
}

// message makes a message whose id and body say n.
func message(n int, size int) stream.Message {
	m := stream.Message{Body: bytes.Repeat([]byte{byte(n)}, size)}
	binary.BigEndian.PutUint64(m.ID[:], uint64(n))
	return m
}

func (s *suite) append(id stream.ID, m stream.Message) uint64 {
	s.Helper()
	r, err := stream.Append(s.ctx, s.Store, id, m)
	s.must(err)
	return r.Seq
}

// fill appends messages of some size, numbered from first to last.
func (s *suite) fill(id stream.ID, first, last, size int) {
	s.Helper()
	var wait sync.WaitGroup
	for n := first; n <= last; n++ {
		wait.Add(1)
		s.Store.Submit(id, message(n, size), func(r stream.Receipt, err error) {
			if err != nil || r.Seq != uint64(n) || r.Again {
				s.Errorf("append %d: %+v, %v", n, r, err)
			}
			wait.Done()
		})
	}
	wait.Wait()
}

func (s *suite) state(id stream.ID) stream.State {
	s.Helper()
	state, err := s.Store.State(s.ctx, id)
	s.must(err)
	return state
}

func (s *suite) all(id stream.ID, after uint64) *Tape {
	s.Helper()
	tape := &Tape{last: after}
	for {
		page, err := s.Store.Range(s.ctx, id, tape.Last(), stream.MaxPage)
		s.must(err)
		s.must(tape.Add(page))
		if page.Last() == page.Head {
			return tape
		}
	}
}

// eventually waits for a condition that the store brings about by itself.
func (s *suite) eventually(what string, condition func() bool) {
	s.Helper()
	for deadline := time.Now().Add(20 * time.Second); !condition(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.Fatalf("%s: it does not come", what)
		}
	}
}

func (s *suite) numbers() {
	a, b := s.stream(stream.Settings{}), s.stream(stream.Settings{})
	for n := 1; n <= 5; n++ {
		if seq := s.append(a, message(n, 10)); seq != uint64(n) {
			s.Fatalf("message %d got number %d", n, seq)
		}
	}
	if seq := s.append(b, message(1, 10)); seq != 1 {
		s.Fatalf("the other stream's first got number %d", seq)
	}
	for i, e := range s.all(a, 0).Entries {
		if want := message(i+1, 10); e.ID != want.ID || !bytes.Equal(e.Body, want.Body) {
			s.Fatalf("entry %d is %x %x", e.Seq, e.ID, e.Body)
		}
	}
	s.append(a, stream.Message{ID: stream.MessageID{9}}) // an empty body is one too
	if e := s.all(a, 5).Entries; len(e) != 1 || len(e[0].Body) != 0 {
		s.Fatalf("entries are %v", e)
	}
}

func (s *suite) retries() {
	id := s.stream(stream.Settings{MaxEntries: 3})
	s.fill(id, 1, 3, 20)
	for n := 1; n <= 3; n++ { // though the stream is full
		r, err := stream.Append(s.ctx, s.Store, id, message(n, 20))
		s.must(err)
		if !r.Again || r.Seq != uint64(n) {
			s.Fatalf("retry of %d: %+v", n, r)
		}
	}
	if seq := s.state(id).Head.Seq; seq != 3 {
		s.Fatalf("stream has %d entries", seq)
	}
	// Twice at once.
	id = s.stream(stream.Settings{})
	var wait sync.WaitGroup
	for range 50 {
		wait.Add(1)
		s.Store.Submit(id, message(7, 20), func(r stream.Receipt, err error) {
			if err != nil || r.Seq != 1 {
				s.Errorf("retry: %+v, %v", r, err)
			}
			wait.Done()
		})
	}
	wait.Wait()
	if seq := s.state(id).Head.Seq; seq != 1 {
		s.Fatalf("stream has %d entries", seq)
	}
}

func (s *suite) retriesAfterTrim() {
	id := s.stream(stream.Settings{})
	s.fill(id, 1, 3, 20)
	s.must(s.Store.Trim(s.ctx, id, 3))
	s.Store = s.Again()
	if r, err := stream.Append(s.ctx, s.Store, id, message(2, 20)); err != nil || r.Seq != 2 || !r.Again {
		s.Fatalf("retry: %+v, %v", r, err)
	}
	if seq := s.append(id, message(4, 20)); seq != 4 {
		s.Fatalf("the next got number %d", seq)
	}
}

func (s *suite) forgetsIDs() {
	id := s.stream(stream.Settings{})
	s.fill(id, 1, 1, 20)
	s.Pass(stream.Remember - time.Hour)
	if r, err := stream.Append(s.ctx, s.Store, id, message(1, 20)); err != nil || !r.Again {
		s.Fatalf("retry within the time: %+v, %v", r, err)
	}
	s.Pass(2 * stream.Remember)
	if r, err := stream.Append(s.ctx, s.Store, id, message(1, 20)); err != nil || r.Again {
		s.Fatalf("long after: %+v, %v", r, err)
	}
}

func (s *suite) reusedID() {
	id := s.stream(stream.Settings{})
	s.append(id, message(1, 20))
	m := message(1, 20)
	m.Body[3]++
	_, err := stream.Append(s.ctx, s.Store, id, m)
	s.want(err, stream.ErrReused)
	if seq := s.append(id, message(2, 20)); seq != 2 {
		s.Fatalf("the next got number %d", seq)
	}
}

func (s *suite) compareAndAppend() {
	id := s.stream(stream.Settings{})
	head := stream.Genesis(id)
	for n := 1; n <= 3; n++ {
		m := message(n, 20)
		m.Expect = &head
		s.append(id, m)
		head = head.Next(m.ID, sha256.Sum256(m.Body))
	}
	m := message(3, 20) // a retry whose first answer was lost
	old := stream.Genesis(id)
	m.Expect = &old
	if seq := s.append(id, m); seq != 3 {
		s.Fatalf("retry got number %d", seq)
	}
	other := head
	other.Hash[0] ^= 1
	for _, expect := range []stream.Head{old, other, {Seq: 4, Hash: head.Hash}} {
		m := message(4, 20)
		m.Expect = &expect
		_, err := stream.Append(s.ctx, s.Store, id, m)
		var he *stream.HeadError
		if !errors.As(err, &he) || he.Head != head || wire.CodeOf(err) != wire.Conflict {
			s.Fatalf("append on head %d: %v", expect.Seq, err)
		}
	}
	if got := s.state(id).Head; got != head {
		s.Fatalf("head is %v, want %v", got, head)
	}
}

func (s *suite) race() {
	id := s.stream(stream.Settings{})
	for round := range 5 {
		head := s.state(id).Head
		var mu sync.Mutex
		won, lost := 0, 0
		var wait sync.WaitGroup
		for i := range 16 {
			wait.Add(1)
			go func() {
				defer wait.Done()
				m := message(100*round+i, 20)
				m.Expect = &head
				_, err := stream.Append(s.ctx, s.Store, id, m)
				var he *stream.HeadError
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err == nil:
					won++
				case errors.As(err, &he) && he.Head.Seq == head.Seq+1:
					lost++
				default:
					s.Errorf("append: %v", err)
				}
			}()
		}
		wait.Wait()
		if won != 1 || lost != 15 {
			s.Fatalf("%d won, %d lost", won, lost)
		}
	}
}

func (s *suite) largestBody() {
	id := s.stream(stream.Settings{})
	s.append(id, message(1, stream.MaxBody))
	_, err := stream.Append(s.ctx, s.Store, id, message(2, stream.MaxBody+1))
	s.want(err, stream.ErrTooLarge)
	page, err := s.Store.Range(s.ctx, id, 0, 1)
	s.must(err)
	if len(page.Entries) != 1 || len(page.Entries[0].Body) != stream.MaxBody {
		s.Fatal("the largest body cannot be read with a small page")
	}
}

func (s *suite) pages() {
	id := s.stream(stream.Settings{})
	s.fill(id, 1, 50, 1000)
	for _, max := range []int{-1, 0, 500, 1024, 4096, 10_000} {
		tape := &Tape{}
		for tape.Last() < 50 {
			page, err := s.Store.Range(s.ctx, id, tape.Last(), max)
			s.must(err)
			s.must(tape.Add(page))
			size := len(page.Entries) * (1000 + stream.EntryCost)
			if len(page.Entries) == 0 || len(page.Entries) > 1 && size > max {
				s.Fatalf("%d entries in a page of %d bytes", len(page.Entries), max)
			}
			if page.Last() < 50 && size+1000+stream.EntryCost <= max {
				s.Fatalf("only %d entries in a page of %d bytes", len(page.Entries), max)
			}
		}
	}
	big := s.stream(stream.Settings{})
	s.fill(big, 1, 4, 50_000)
	page, err := s.Store.Range(s.ctx, big, 0, 1<<30)
	s.must(err)
	if len(page.Entries) != 2 || page.Head != 4 {
		s.Fatalf("a page has %d entries of 50,000 bytes, its head is %d", len(page.Entries), page.Head)
	}
}

func (s *suite) ahead() {
	id := s.stream(stream.Settings{})
	s.fill(id, 1, 3, 20)
	if page, err := s.Store.Range(s.ctx, id, 3, 1000); err != nil || page.After != 3 || page.Head != 3 || len(page.Entries) != 0 {
		s.Fatalf("at the end: %+v, %v", page, err)
	}
	_, err := s.Store.Range(s.ctx, id, 4, 1000)
	s.want(err, stream.ErrAhead)
	s.want(s.Store.Trim(s.ctx, id, 4), stream.ErrAhead)
}

func (s *suite) missing() {
	id := stream.ID{77}
	_, err := stream.Append(s.ctx, s.Store, id, message(1, 20))
	s.want(err, stream.ErrNotFound)
	_, err = s.Store.Range(s.ctx, id, 0, 1000)
	s.want(err, stream.ErrNotFound)
	_, err = s.Store.State(s.ctx, id)
	s.want(err, stream.ErrNotFound)
	s.want(s.Store.Trim(s.ctx, id, 0), stream.ErrNotFound)
	s.want(s.Store.Acknowledge(s.ctx, id, stream.Reader{}, 0), stream.ErrNotFound)
	_, err = s.Store.Watch(s.ctx, id, &bell{})
	s.want(err, stream.ErrNotFound)
	s.must(s.Store.Delete(s.ctx, id))
	for _, bad := range []stream.Settings{
		{TTL: -time.Second}, {TTL: time.Millisecond}, {Readers: make([]stream.Reader, 2)},
		{Readers: make([]stream.Reader, stream.MaxReaders+1)},
	} {
		if err := s.Store.Configure(s.ctx, id, bad); wire.CodeOf(err) != wire.Invalid {
			s.Fatalf("settings %+v: %v", bad, err)
		}
	}
}

func (s *suite) chain() {
	id := s.stream(stream.Settings{})
	if head := s.state(id).Head; head != stream.Genesis(id) {
		s.Fatalf("head of an empty stream is %v", head)
	}
	s.fill(id, 1, 40, 3000)
	want := stream.Genesis(id).Follow(s.all(id, 0).Entries)
	if head := s.state(id).Head; head != want {
		s.Fatalf("head is %v, want %v", head, want)
	}
	s.must(s.Store.Trim(s.ctx, id, 40)) // it outlives what it was made of
	s.Store = s.Again()
	if head := s.state(id).Head; head != want {
		s.Fatalf("head is %v after all was trimmed, want %v", head, want)
	}
	s.fill(id, 41, 45, 10)
	if head := s.state(id).Head; head != want.Follow(s.all(id, 40).Entries) {
		s.Fatal("the chain does not go on where it was")
	}
}
