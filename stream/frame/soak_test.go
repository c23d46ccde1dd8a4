package frame_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/stream"
	"github.com/confab-chat/confab/stream/frame"
	"github.com/confab-chat/confab/stream/streamtest"
)

// 64 writers that retry until they are answered, readers that come and go, a
// server that is killed again and again, and a clock that steps by hours each
// time it is looked at: nothing is lost, doubled, reordered within a writer or
// invented. With CONFAB_LONG=1 it goes on for ten minutes.
func TestSoak_KilledServerLosesNothing(t *testing.T) {
	kills, each := 4, 60
	if os.Getenv("CONFAB_LONG") == "1" {
		kills, each = 300, 15_000
	}
	soak(t, t.TempDir(), kills, each)
}

func TestSoak_KilledServerOnRedisLosesNothing(t *testing.T) {
	soak(t, streamtest.StartRedis(t).URL, 2, 30)
}

func soak(t *testing.T, where string, kills, each int) {
	t.Helper()
	const writers, readers, streams = 64, 16, 8
	wait := 2 * time.Minute
	if kills > 10 {
		wait = time.Hour
	}
	ctx, cancel := context.WithTimeout(t.Context(), wait)
	defer cancel()
	s := &soakServer{t: t, where: where, cancel: cancel}
	s.start()
	defer s.kill()
	ledger := streamtest.NewLedger()
	var writing, all sync.WaitGroup
	for w := range writers {
		writing.Add(1)
		go func() {
			defer writing.Done()
			s.write(ctx, ledger, w, each, streams)
		}()
	}
	for r := range readers {
		all.Add(1)
		go func() {
			defer all.Done()
			s.read(ctx, ledger, stream.ID{byte(r % streams)}, writers*each/streams)
		}()
	}
	for range kills {
		time.Sleep(time.Duration(100+rand.IntN(300)) * time.Millisecond) // a random moment
		s.kill()
		s.start()
	}
	writing.Wait()
	all.Wait()
	if n := ledger.Count(); n != writers*each && !t.Failed() {
		t.Errorf("%d of %d messages were answered", n, writers*each)
	}
	c, err := s.dial(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := ledger.CheckAll(ctx, c); err != nil {
		t.Error(err)
	}
}

// soakServer is a server's process that is killed and started again.
type soakServer struct {
	t      *testing.T
	where  string
	cancel func() // ends everybody when one has failed

	mu   sync.Mutex
	addr string
	cmd  *exec.Cmd
}

func (s *soakServer) start() {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := startServer(s.t, s.where, "CONFAB_TEST_PLAIN=1", "CONFAB_TEST_CLOCK=steps")
	s.addr, s.cmd = p.addr, p.cmd
}

func (s *soakServer) kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cmd.Process.Signal(syscall.SIGKILL)
	s.cmd.Wait()
}

func (s *soakServer) dial(ctx context.Context) (*frame.Client, error) {
	s.mu.Lock()
	addr := s.addr
	s.mu.Unlock()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	return frame.Dial(ctx, frame.Over(c))
}

// connected calls f with a connection, again with another when it ends, until f
// is done.
func (s *soakServer) connected(ctx context.Context, f func(*frame.Client) (done bool, err error)) {
	for ctx.Err() == nil {
		c, err := s.dial(ctx)
		if err != nil {
			time.Sleep(10 * time.Millisecond) // the server is being started
			continue
		}
		done, err := f(c)
		c.Close()
		if done {
			return
		}
		if err != nil && wire.CodeOf(err) != wire.Unavailable {
			s.t.Error(err)
			s.cancel()
			return
		}
	}
	s.t.Errorf("not done: %v", context.Cause(ctx))
}

// write sends one writer's messages, each until it is answered.
func (s *soakServer) write(ctx context.Context, ledger *streamtest.Ledger, writer, each, streams int) {
	n := 0
	s.connected(ctx, func(c *frame.Client) (bool, error) {
		for n < each {
			id := stream.ID{byte((writer + n) % streams)}
			m := ledger.Message(id, writer, n, 16+(31*writer+17*n)%600)
			r, err := stream.Append(ctx, c, id, m)
			if err != nil {
				return false, err
			}
			if err := ledger.Answered(id, m.ID, r.Seq); err != nil {
				return false, err
			}
			n++
		}
		return true, nil
	})
}

// read follows a stream until it has so many entries, over as many connections as
// it takes, some of which it ends itself.
func (s *soakServer) read(ctx context.Context, ledger *streamtest.Ledger, id stream.ID, many int) {
	tape := &streamtest.Tape{}
	s.connected(ctx, func(c *frame.Client) (bool, error) {
		sub, err := c.Subscribe(ctx, id, tape.Last(), nil)
		if err != nil {
			return false, err
		}
		for pages := 1 + rand.IntN(50); pages > 0; pages-- {
			if len(tape.Entries) >= many {
				return true, nil
			}
			page, err := sub.Next(ctx)
			if err != nil {
				return false, err
			}
			if err := tape.Add(page); err != nil {
				return false, errors.Join(err, errors.New("what was pushed has holes"))
			}
		}
		return false, nil
	})
	if err := ledger.Check(id, tape); err != nil {
		s.t.Error(err)
	}
}

// steppingClock is a machine's clock that somebody sets by hours all the time.
func steppingClock() func() time.Time {
	if !strings.Contains(os.Getenv("CONFAB_TEST_CLOCK"), "steps") {
		return nil
	}
	return func() time.Time {
		return time.Unix(time.Now().Unix()+int64(rand.IntN(24)-12)*3600, 0)
	}
}
