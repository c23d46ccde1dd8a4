package concierge

import (
	"bufio"
	"crypto/tls"
	"fmt"
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

// What is measured: the memory of a server's process for each idle connection,
// and its CPU for each message of 512 bytes that it pushes, in bursts of 16. The
// server has a process of its own.
const (
	idleConnections = 2000
	pushes          = 100_000
	pushBurst       = 16
)

// TestMeasure_ServerProcess is the process of a server, for TestMeasure.
func TestMeasure_ServerProcess(t *testing.T) {
	mode := os.Getenv("CONFAB_MEASURE")
	if mode == "" {
		t.Skip("it is run by TestMeasure")
	}
	at := serverOf(t, mode)
	fmt.Println("AT", at)
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		debug.FreeOSMemory()
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

// TestMeasure prints the figures; with CONFAB_LONG=1 only. The concierge's idle
// connections are authenticated devices that follow a queue, over TLS.
func TestMeasure(t *testing.T) {
	if os.Getenv("CONFAB_LONG") == "" {
		t.Skip("CONFAB_LONG=1 runs it")
	}
	for _, mode := range []string{"gorilla", "own frames over gorilla", "concierge"} {
		cmd := exec.Command(os.Args[0], "-test.run=^TestMeasure_ServerProcess$")
		cmd.Env = append(os.Environ(), "CONFAB_MEASURE="+mode, "GOGC=50")
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		lines.Scan()
		at := strings.TrimPrefix(lines.Text(), "AT ")
		used := func() (kib, micros int) {
			fmt.Fprintln(in)
			lines.Scan()
			fmt.Sscanf(lines.Text(), "USED %d %d", &kib, &micros)
			return kib, micros
		}
		before, _ := used()
		closers := connectMany(t, mode, at)
		after, cpuBefore := used()
		perConnection := float64(after-before) / idleConnections
		t.Logf("%-24s %5.1f KiB for each idle connection", mode, perConnection)
		if mode == "concierge" && perConnection > 32 {
			t.Errorf("an idle connection takes %.1f KiB, 25 are the target and 32 the floor", perConnection)
		}
		if mode != "concierge" {
			receivePushes(t, at)
			_, cpuAfter := used()
			t.Logf("%-24s %5.2f µs for each message of 512 bytes", mode, float64(cpuAfter-cpuBefore)/pushes)
		}
		for _, c := range closers {
			c()
		}
		in.Close()
		cmd.Wait()
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

func connectMany(t *testing.T, mode, at string) (closers []func()) {
	chain := fakechain.New(fakechain.Spec{})
	harbor, alice := fakechain.NewActor("harbor", 3), fakechain.NewActor("alice", 1)
	want := Service{Chain: chain.ID(), Account: harbor.ID, Generation: 1, Key: harbor.Server.Public()}
	seed := Seed{1}
	var mu sync.Mutex
	var wait sync.WaitGroup
	for range 8 {
		wait.Go(func() {
			for range idleConnections / 8 {
				var closing func()
				if mode != "concierge" {
					c := dialBare(t, at)
					closing = func() { c.Close() }
				} else {
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
					closing = func() { c.Close() }
				}
				mu.Lock()
				closers = append(closers, closing)
				mu.Unlock()
			}
		})
	}
	wait.Wait()
	return closers
}
