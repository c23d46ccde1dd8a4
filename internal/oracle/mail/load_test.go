package mail

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const (
	pairs    = 20
	bodySize = 512
	// patience is how long a run may take: none takes a quarter of it.
	patience = 3 * time.Minute
)

// A system is one server with clients of its kind.
type system interface {
	// processes returns those of the server.
	processes() []int
	// connect makes the two connections of a pair. received is called with what
	// the reader gets.
	connect(pair int, received func(body []byte)) (sender, error)
	close()
}

// A sender is a writer's connection. stored is called when the server has said
// that the message is durable.
type sender interface {
	send(body []byte, stored func(error)) error
	close()
}

// figures are what one run gave.
type figures struct {
	rate     float64       // messages a second
	p50, p99 time.Duration // until both ends know
	cpu      time.Duration // of the server, for one message
}

// run has all pairs send so many messages in all, so many at a time each.
func run(t *testing.T, s system, messages, flying int) figures {
	t.Helper()
	each := messages / pairs
	all := make([]*pair, pairs)
	for i := range all {
		p := &pair{t: t, number: i, slots: make(chan struct{}, flying), at: make([]time.Time, each), took: make([]time.Duration, each), half: make([]atomic.Bool, each)}
		var err error
		if p.sender, err = s.connect(i, p.received); err != nil {
			t.Fatalf("connect: %v", err)
		}
		defer p.sender.close()
		all[i] = p
	}
	before, began := processorTime(t, s.processes()...), time.Now()
	var wait sync.WaitGroup
	for _, p := range all {
		wait.Go(p.run)
	}
	stuck := time.AfterFunc(patience, func() { panic(fmt.Sprintf("%T: a run takes too long: %v", s, progress(all))) })
	wait.Wait()
	stuck.Stop()
	took, used := time.Since(began), processorTime(t, s.processes()...)-before
	var latencies []time.Duration
	for _, p := range all {
		latencies = append(latencies, p.took...)
	}
	slices.Sort(latencies)
	n := each * pairs
	return figures{
		rate: float64(n) / took.Seconds(), p50: latencies[n/2], p99: latencies[n*99/100],
		cpu: used / time.Duration(n),
	}
}

// progress says how many messages of each pair are done.
func progress(all []*pair) (done []int) {
	for _, p := range all {
		n := 0
		for i := range p.half {
			if p.half[i].Load() {
				n++
			}
		}
		done = append(done, n)
	}
	return done
}

// pair is one writer and one reader.
type pair struct {
	t      *testing.T
	number int
	sender sender
	slots  chan struct{}
	at     []time.Time
	took   []time.Duration
	half   []atomic.Bool // one of the two ends knows
}

func (p *pair) run() {
	random := rand.NewChaCha8([32]byte{byte(p.number)})
	for i := range p.at {
		p.slots <- struct{}{}
		body := make([]byte, bodySize)
		random.Read(body)
		binary.BigEndian.PutUint64(body, uint64(i))
		p.at[i] = time.Now()
		err := p.sender.send(body, func(err error) {
			if err != nil {
				p.t.Errorf("pair %d: %v", p.number, err)
			}
			p.done(i)
		})
		if err != nil {
			p.t.Errorf("pair %d: %v", p.number, err)
			return
		}
	}
	for range cap(p.slots) {
		p.slots <- struct{}{}
	}
}

// received notes what the reader has. Relays of Nostr keep no order.
func (p *pair) received(body []byte) {
	n := binary.BigEndian.Uint64(body)
	if len(body) != bodySize || n >= uint64(len(p.half)) {
		p.t.Errorf("pair %d: something else comes, of %d bytes", p.number, len(body))
		return
	}
	p.done(int(n))
}

func (p *pair) done(i int) {
	if p.half[i].Swap(true) {
		p.took[i] = time.Since(p.at[i])
		<-p.slots
	}
}

// processorTime returns what a process has used, of all its threads.
func processorTime(t *testing.T, pids ...int) (all time.Duration) {
	t.Helper()
	for _, pid := range pids {
		all += timeOf(t, pid)
	}
	return all
}

func timeOf(t *testing.T, pid int) time.Duration {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	fields := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
	var user, kernel int64
	fmt.Sscan(fields[11], &user)
	fmt.Sscan(fields[12], &kernel)
	return time.Duration(user+kernel) * (time.Second / 100) // USER_HZ is 100
}

func (f figures) String() string {
	return fmt.Sprintf("%7.0f msg/s   p50 %6.2f ms   p99 %6.2f ms   %6.1f µs of CPU", f.rate,
		float64(f.p50.Microseconds())/1e3, float64(f.p99.Microseconds())/1e3, float64(f.cpu.Nanoseconds())/1e3)
}

// median takes each figure's median.
func median(runs []figures) figures {
	pick := func(of func(figures) float64) float64 {
		var all []float64
		for _, f := range runs {
			all = append(all, of(f))
		}
		slices.Sort(all)
		return all[len(all)/2]
	}
	return figures{
		rate: pick(func(f figures) float64 { return f.rate }),
		p50:  time.Duration(pick(func(f figures) float64 { return float64(f.p50) })),
		p99:  time.Duration(pick(func(f figures) float64 { return float64(f.p99) })),
		cpu:  time.Duration(pick(func(f figures) float64 { return float64(f.cpu) })),
	}
}
