package concierge

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/confab-chat/confab/internal/fakechain"
	"github.com/confab-chat/confab/lightclient"
	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/stream"
	"github.com/confab-chat/confab/stream/pebblestore"
)

const (
	soakWriters = 64
	soakQueues  = 8
	soakStep    = 12 * time.Hour // how far a clock is set at most, either way
)

// 64 writers over TLS and WebSocket, each retrying until it is answered; readers
// that come and go, and acknowledge what they have; a concierge's process that is
// killed again and again; and clocks, of the store and of the concierge, that
// somebody sets by hours all the time. No message is lost, doubled, reordered
// within its writer or changed, and what a writer was told is what readers see.
//
// It takes ten seconds; with CONFAB_LONG=1, half an hour.
func TestSoak_KilledConciergeLosesNothing(t *testing.T) {
	length := 8 * time.Second
	if os.Getenv("CONFAB_LONG") != "" {
		length = 30 * time.Minute
	}
	if d, err := time.ParseDuration(os.Getenv("CONFAB_SOAK")); err == nil {
		length = d
	}
	ctx, cancel := context.WithTimeout(t.Context(), length+2*time.Minute)
	defer cancel()
	s := &soak{T: t, ctx: ctx, cancel: cancel, dir: t.TempDir(), alice: fakechain.NewActor("alice", 1)}
	s.start()
	defer func() { s.kill() }()
	s.makeQueues()
	var writing, reading sync.WaitGroup
	for w := range soakWriters {
		writing.Go(func() { s.write(uint64(w)) })
	}
	for q := range s.queues {
		reading.Go(func() { s.read(&s.queues[q]) })
	}
	kills := 0
	for end := time.Now().Add(length); time.Now().Before(end) && ctx.Err() == nil; kills++ {
		s.served()                          // however slow the machine is
		time.Sleep(rand.N(2 * time.Second)) // a random moment
		s.kill()
		s.start()
	}
	s.enough.Store(true)
	writing.Wait()
	s.written.Store(true)
	reading.Wait()
	var stored, connections uint64
	for i := range s.queues {
		q := &s.queues[i]
		stored += q.seen
		connections += q.connections
		if q.told.Load() != q.read {
			t.Errorf("queue %d: what writers were told is not what its reader has", i)
		}
	}
	t.Logf("%d messages in %v, %d kills, %d retries, %d connections of readers", stored, length, kills, s.retries.Load(), connections)
	if stored < soakWriters || kills == 0 {
		t.Errorf("%d messages and %d kills prove nothing", stored, kills)
	}
}

// soak is the world of it.
type soak struct {
	*testing.T
	ctx     context.Context
	cancel  func() // ends everybody when one has failed
	dir     string
	alice   *fakechain.Actor
	queues  [soakQueues]soakQueue
	enough  atomic.Bool // writers end once they are answered
	written atomic.Bool // all have
	retries atomic.Uint64
	answers atomic.Uint64

	mu   sync.Mutex
	url  string
	cmd  *exec.Cmd
	in   io.Closer // the process ends with us
	want Service
}

// soakQueue is one queue, with what its writers were told and its reader has. The
// two sums are of the hashes of all messages with their numbers, in any order.
type soakQueue struct {
	number uint64
	id     stream.ID
	to     stream.ID
	last   [soakWriters]atomic.Uint64 // of each writer, answered
	told   atomic.Uint64

	// The reader's.
	at          uint64
	seen        uint64
	read        uint64
	next        [soakWriters]uint64
	connections uint64
}

// soakMessage is the n-th message of a writer, from 1: its queue, id, size and
// body follow from that.
func soakMessage(writer, n uint64) stream.Message {
	body := make([]byte, 16+(31*writer+17*n)%600)
	binary.BigEndian.PutUint64(body, writer)
	binary.BigEndian.PutUint64(body[8:], n)
	sum := sha256.Sum256(body[:16])
	for i := 16; i < len(body); i++ {
		body[i] = sum[i%32] ^ byte(i)
	}
	return stream.Message{ID: stream.MessageID(sum[:]), Body: body}
}

func soakQueueOf(writer, n uint64) uint64 { return (writer + n) % soakQueues }

// soakHash is what a message under a number adds to a sum.
func soakHash(id stream.MessageID, seq uint64) uint64 {
	sum := sha256.Sum256(binary.BigEndian.AppendUint64(id[:], seq))
	return binary.BigEndian.Uint64(sum[:])
}

// connected calls f with a connection, again with another when it ends, until f is
// done.
func (s *soak) connected(id *Identity, f func(*Client) (done bool, err error)) {
	var last error
	for s.ctx.Err() == nil {
		s.mu.Lock()
		url, want := s.url, s.want
		s.mu.Unlock()
		c, err := Dial(s.ctx, url, want, id)
		if err != nil {
			if s.ctx.Err() == nil {
				last = err
			}
			time.Sleep(20 * time.Millisecond) // the server is being started
			continue
		}
		done, err := f(c)
		last = err
		c.Close()
		if done {
			return
		}
		switch wire.CodeOf(err) {
		case wire.Unavailable, wire.Exhausted, wire.Unauthorized: // killed; too fast; its clock was set
		default:
			if err != nil {
				s.Error(err)
				s.cancel()
				return
			}
		}
	}
	s.Errorf("not done: %v; the last error was: %v", context.Cause(s.ctx), last)
}

func (s *soak) reader() *Identity { return &Identity{Account: s.alice.ID, Device: s.alice.Device} }

func (s *soak) makeQueues() {
	made := 0
	s.connected(s.reader(), func(c *Client) (bool, error) {
		for i := made; i < soakQueues; i, made = i+1, i+1 {
			q, err := c.CreateQueue(s.ctx, Seed{byte(i + 1)}, stream.Settings{})
			if err != nil {
				return false, err
			}
			s.queues[i].number, s.queues[i].id = uint64(i), q.ID
			s.queues[i].to = stream.ID(OwnerOf(s.alice.ID, 1).Address(Seed{byte(i + 1)}))
		}
		return true, nil
	})
}

// write sends one writer's messages, each until it is answered.
func (s *soak) write(writer uint64) {
	n, sent := uint64(1), uint64(0)
	s.connected(nil, func(c *Client) (bool, error) {
		for ; sent == n || !s.enough.Load(); n++ { // what was sent is also answered
			sent = n
			q, m := &s.queues[soakQueueOf(writer, n)], soakMessage(writer, n)
			r, err := stream.Append(s.ctx, c, q.to, m)
			for wire.CodeOf(err) == wire.Exhausted && err != nil {
				s.retries.Add(1)
				time.Sleep(10 * time.Millisecond) // as a client does that was told to slow down
				r, err = stream.Append(s.ctx, c, q.to, m)
			}
			if err != nil {
				s.retries.Add(1)
				return false, err
			}
			q.told.Add(soakHash(m.ID, r.Seq))
			q.last[writer].Store(n)
			s.answers.Add(1)
		}
		return true, nil
	})
}

// read follows a queue, over as many connections as it takes, some of which it ends
// itself, until it has all that writers were told is stored.
func (s *soak) read(q *soakQueue) {
	s.connected(s.reader(), func(c *Client) (bool, error) {
		q.connections++
		sub, err := c.Subscribe(s.ctx, q.id, q.at, nil)
		if err != nil {
			return false, err
		}
		for pages := 1 + rand.IntN(200); pages > 0; pages-- {
			if s.written.Load() && q.complete() {
				return true, nil
			}
			ctx, cancel := context.WithTimeout(s.ctx, 100*time.Millisecond)
			page, err := sub.Next(ctx)
			cancel()
			if errors.Is(err, context.DeadlineExceeded) && s.ctx.Err() == nil {
				continue // nothing new
			}
			if err != nil {
				return false, err
			}
			if err := q.take(page); err != nil {
				return false, wire.Errorf(wire.Internal, "queue %d: %w", q.number, err)
			}
			c.Acknowledge(q.id, q.at)
		}
		return false, nil
	})
}

// take checks a page: it follows the last, and every message in it is its writer's
// next.
func (q *soakQueue) take(page stream.Page) error {
	if page.After != q.at {
		return fmt.Errorf("page begins after %d, reader was at %d", page.After, q.at)
	}
	for _, e := range page.Entries {
		if q.at++; e.Seq != q.at || len(e.Body) < 16 {
			return fmt.Errorf("entry %d of %d bytes comes after entry %d", e.Seq, len(e.Body), q.at-1)
		}
		writer, n := binary.BigEndian.Uint64(e.Body), binary.BigEndian.Uint64(e.Body[8:])
		if writer >= soakWriters {
			return fmt.Errorf("entry %d: nobody sent it", e.Seq)
		}
		want := q.next[writer]
		if want == 0 { // the first of this writer's numbers that falls to this queue
			for want = 1; soakQueueOf(writer, want) != q.number; want++ {
			}
		}
		if m := soakMessage(writer, n); n != want || e.ID != m.ID || string(e.Body) != string(m.Body) {
			return fmt.Errorf("entry %d: message %d of writer %d comes where message %d should", e.Seq, n, writer, want)
		}
		q.next[writer] = want + soakQueues
		q.read += soakHash(e.ID, e.Seq)
		q.seen++
	}
	return nil
}

// complete reports whether the reader has the last that every writer was told is
// stored.
func (q *soakQueue) complete() bool {
	for w := range q.last {
		if last := q.last[w].Load(); last != 0 && q.next[w] <= last {
			return false
		}
	}
	return true
}

func (s *soak) start() {
	cmd := exec.Command(os.Args[0], "-test.run=^TestSoak_ServerProcess$")
	cmd.Env = append(os.Environ(), "CONFAB_SOAK_DIR="+s.dir)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		s.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		s.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	lines.Scan()
	url, ok := strings.CutPrefix(lines.Text(), "AT ")
	if !ok {
		cmd.Process.Kill()
		cmd.Wait()
		s.Fatalf("the concierge says %q", lines.Text())
	}
	chain, harbor := soakChain(s.T)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.url, s.cmd, s.in = url, cmd, in
	s.want = Service{Chain: chain.ID(), Account: harbor.ID, Generation: 1, Key: harbor.Server.Public()}
}

// served waits until a message was answered since it was last called.
func (s *soak) served() {
	for s.answers.Swap(0) == 0 && s.ctx.Err() == nil {
		time.Sleep(10 * time.Millisecond)
	}
}

func (s *soak) kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cmd.Process.Kill()
	s.cmd.Wait()
}

// soakChain is the same in both processes.
func soakChain(t *testing.T) (*fakechain.Chain, *fakechain.Actor) {
	chain := fakechain.New(fakechain.Spec{})
	harbor, alice := fakechain.NewActor("harbor", 3), fakechain.NewActor("alice", 1)
	for _, err := range []error{
		chain.Register(harbor, "harbor", harbor.Concierge("https://harbor.example")),
		chain.Register(alice, "alice", fakechain.ServedBy(harbor)),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	chain.Skip(1)
	return chain, harbor
}

// TestSoak_ServerProcess is the concierge's process: not a test, unless it is told
// to be.
func TestSoak_ServerProcess(t *testing.T) {
	dir := os.Getenv("CONFAB_SOAK_DIR")
	if dir == "" {
		t.Skip("only for the test that starts it")
	}
	chain, harbor := soakChain(t)
	var wrong atomic.Int64 // how far the machine's clock is off
	set := func() { wrong.Store(int64(rand.N(2*soakStep) - soakStep)) }
	set()
	go func() {
		for range time.Tick(700 * time.Millisecond) {
			set()
		}
	}()
	store, err := pebblestore.Open(dir, pebblestore.Options{Reserve: 1, Now: func() time.Time { return time.Now().Add(time.Duration(wrong.Load())) }})
	if err != nil {
		t.Fatal(err)
	}
	light, err := lightclient.New(lightclient.Config{
		Pin: chain.Pin(1), Sources: []lightclient.Source{fakechain.Node{Chain: chain, Label: "node"}}, Now: chain.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	me, began := Service{Chain: chain.ID(), Account: harbor.ID, Generation: 1}, time.Now()
	server, err := New(Options{
		Service: me, Key: harbor.Server, Chain: light, Store: store, Now: func() time.Time { return chain.Now().Add(time.Since(began) + time.Duration(wrong.Load())) },
		Limits: Limits{QueueRate: 5000, QueueBurst: 5000, Rate: 10_000, Burst: 10_000},
	})
	if err != nil {
		t.Fatal(err)
	}
	ts := httptest.NewUnstartedServer(server.Handler())
	ts.EnableHTTP2 = false
	ts.Config.ErrorLog = log.New(io.Discard, "", 0) // clients are cut off in handshakes
	ts.StartTLS()
	fmt.Println("AT", ts.URL)
	io.Copy(io.Discard, os.Stdin) // until whoever started it is gone
	os.Exit(0)
}
