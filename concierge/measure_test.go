package concierge

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"runtime/debug"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/confab-chat/confab/internal/fakechain"
	"github.com/confab-chat/confab/stream"
)

// What is measured: the memory of a server's process for each idle connection and
// its CPU while all are idle, and its CPU for each message of 512 bytes that it
// pushes, in bursts of 16. The server has a process of its own, with the garbage
// collector as it is by default.
const (
	idleConnections = 5000
	idleFor         = 20 * time.Second
	pushes          = 100_000
	pushBurst       = 16
)

// TestMeasure_ServerProcess is the process of a server, for the tests below.
func TestMeasure_ServerProcess(t *testing.T) {
	mode := os.Getenv("CONFAB_MEASURE")
	if mode == "" {
		t.Skip("only for the tests that start it")
	}
	at := serverOf(t, mode)
	fmt.Println("AT", at)
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		if in.Text() == "collect" {
			debug.FreeOSMemory()
		}
		fmt.Println("USED", residentKiB(t), cpu())
	}
}

func serverOf(t *testing.T, mode string) string {
	if mode == "concierge" {
		l := cheap()
		l.PrefixConnections, l.Grace = idleConnections+10, time.Hour
		return newWorld(t, l).url
	}
	body := make([]byte, 512)
	upgrader := newUpgrader()
	var packets sync.Pool
	ts := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ws, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		go func() {
			s := newSocket(ws, false, &packets)
			burst := make([][]byte, pushBurst)
			for i := range burst {
				burst[i] = body
			}
			for {
				if _, err := s.ReadFrame(1 << 10); err != nil {
					return
				}
				for range pushes / pushBurst {
					if mode == "gorilla" {
						for _, b := range burst {
							ws.WriteMessage(websocket.BinaryMessage, b)
						}
					} else if s.WriteFrames(burst) != nil {
						return
					}
				}
			}
		}()
	}))
	ts.EnableHTTP2 = false
	ts.StartTLS()
	t.Cleanup(ts.Close)
	return ts.URL
}

func residentKiB(t *testing.T) (kib int) {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(b), "VmRSS:")
	fmt.Sscan(rest, &kib)
	return kib
}

func cpu() int64 {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return (u.Utime.Nano() + u.Stime.Nano()) / 1000
}

// measured is a server's process.
type measured struct {
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines *bufio.Scanner
	at    string
}

func startMeasured(t *testing.T, mode string) *measured {
	t.Helper()
	m := &measured{cmd: exec.Command(os.Args[0], "-test.run=^TestMeasure_ServerProcess$")}
	m.cmd.Env = append(os.Environ(), "CONFAB_MEASURE="+mode)
	var err error
	if m.in, err = m.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := m.cmd.StdoutPipe()
	if err == nil {
		err = m.cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	m.lines = bufio.NewScanner(out)
	m.lines.Scan()
	m.at = strings.TrimPrefix(m.lines.Text(), "AT ")
	t.Cleanup(m.stop)
	return m
}

func (m *measured) stop() {
	m.in.Close()
	m.cmd.Wait()
}

// used returns the memory that the process has now, or once it has given back all
// that it does not need, and its CPU so far.
func (m *measured) used(how string) (kib float64, spent time.Duration) {
	fmt.Fprintln(m.in, how)
	m.lines.Scan()
	var micros int64
	fmt.Sscanf(m.lines.Text(), "USED %g %d", &kib, &micros)
	return kib, time.Duration(micros) * time.Microsecond
}

// Devices that have proven themselves and follow a queue, over TLS, and hear
// nothing. With CONFAB_LONG=1 only.
func TestMeasure_IdleSubscribers(t *testing.T) {
	long(t)
	m := startMeasured(t, "concierge")
	before, _ := m.used("collect")
	closers := connectMany(t, m.at)
	grown, _ := m.used("now")
	_, spent := m.used("now")
	time.Sleep(idleFor) // what is measured is that nothing happens
	_, later := m.used("now")
	after, _ := m.used("collect")
	each := func(kib float64) float64 { return (kib - before) / idleConnections }
	idle := float64((later - spent).Microseconds()) / idleFor.Seconds() / idleConnections
	t.Logf("%d idle subscribers: %.1f KiB each, %.1f as the collector left it after all had connected; %.2f µs of CPU a second each",
		idleConnections, each(after), each(grown), idle)
	if each(after) > 25 {
		t.Errorf("an idle subscriber takes %.1f KiB: 25 are the target", each(after))
	}
	if idle > 10 {
		t.Errorf("an idle subscriber takes %.1f µs of CPU a second", idle)
	}
	for _, c := range closers {
		c()
	}
}

// Messages that are pushed, by the library and past it.
func TestMeasure_Pushes(t *testing.T) {
	long(t)
	for _, mode := range []string{"gorilla", "own frames"} {
		m := startMeasured(t, mode)
		_, before := m.used("collect")
		receivePushes(t, m.at)
		_, after := m.used("now")
		t.Logf("%-10s %5.2f µs for each message of 512 bytes", mode, float64((after-before).Nanoseconds())/1e3/pushes)
	}
}

func long(t *testing.T) {
	t.Helper()
	if os.Getenv("CONFAB_LONG") == "" {
		t.Skip("CONFAB_LONG=1 runs it")
	}
}

func dialBare(t *testing.T, at string) *websocket.Conn {
	d := websocket.Dialer{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ReadBufferSize: 64 << 10}
	c, _, err := d.Dial(strings.Replace(at, "http", "ws", 1)+"/v1/socket", nil)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func receivePushes(t *testing.T, at string) {
	c := dialBare(t, at)
	defer c.Close()
	if err := c.WriteMessage(websocket.BinaryMessage, []byte("go")); err != nil {
		t.Fatal(err)
	}
	for range pushes / pushBurst * pushBurst {
		if _, _, err := c.ReadMessage(); err != nil {
			t.Fatal(err)
		}
	}
}

// connectMany makes idle connections to a concierge.
func connectMany(t *testing.T, at string) (closers []func()) {
	chain := fakechain.New(fakechain.Spec{})
	harbor, alice := fakechain.NewActor("harbor", 3), fakechain.NewActor("alice", 1)
	want := Service{Chain: chain.ID(), Account: harbor.ID, Generation: 1, Key: harbor.Server.Public()}
	seed := Seed{1}
	var mu sync.Mutex
	var wait sync.WaitGroup
	for range 8 {
		wait.Go(func() {
			for range idleConnections / 8 {
				c, err := Dial(t.Context(), at, want, &Identity{Account: alice.ID, Device: alice.Device})
				if err != nil {
					t.Error(err)
					return
				}
				q, err := c.CreateQueue(t.Context(), seed, stream.Settings{})
				if err == nil {
					_, err = c.Subscribe(t.Context(), q.ID, 0, nil)
				}
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				closers = append(closers, func() { c.Close() })
				mu.Unlock()
			}
		})
	}
	wait.Wait()
	return closers
}
