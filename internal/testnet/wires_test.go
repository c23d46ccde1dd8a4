package testnet_test

import (
	"errors"
	"io"
	"net"
	"sync"
	"testing"

	cmtcfg "github.com/cometbft/cometbft/config"

	"github.com/confab-chat/confab/chain/node"
)

// wires are the connections between validators, each over a proxy of its own, so
// that a test can cut any of them.
type wires struct {
	t     *testing.T
	mu    sync.Mutex
	state sync.Cond // a wire has been cut or mended
	cut   map[[2]int]bool
	open  map[net.Conn][2]int
	ended bool
}

func newWires(t *testing.T) *wires {
	w := &wires{t: t, cut: map[[2]int]bool{}, open: map[net.Conn][2]int{}}
	w.state.L = &w.mu
	return w
}

// onlyThese keeps validators from telling one another their real addresses.
func onlyThese(int) node.Parts {
	return node.Parts{Comet: func(c *cmtcfg.Config) { c.P2P.PexReactor = false }}
}

// edge is a testnet.Spec's Edge.
func (w *wires) edge(from, to int, addr string) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { l.Close(); w.end() })
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			go w.carry([2]int{from, to}, in, addr)
		}
	}()
	return l.Addr().String()
}

// carry carries bytes both ways until one side ends.
func (w *wires) carry(e [2]int, in net.Conn, addr string) {
	defer in.Close()
	if !w.whole(e) {
		return
	}
	out, err := net.Dial("tcp", addr)
	if err != nil {
		return
	}
	defer out.Close()
	w.mu.Lock()
	w.open[in] = e
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		delete(w.open, in)
		w.mu.Unlock()
	}()
	var both sync.WaitGroup
	both.Go(func() { w.copy(e, out, in); out.Close() })
	both.Go(func() { w.copy(e, in, out); in.Close() })
	both.Wait()
}

// copy holds back what comes over a wire that is cut: it is late, as it is in a
// network that loses packets, and the connection lives.
func (w *wires) copy(e [2]int, to io.Writer, from io.Reader) {
	b := make([]byte, 32<<10)
	for {
		n, err := from.Read(b)
		if !w.whole(e) {
			return
		}
		if _, werr := to.Write(b[:n]); errors.Join(err, werr) != nil {
			return
		}
	}
}

// whole waits until a wire is whole. It is false at the end of the test.
func (w *wires) whole(e [2]int) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.cut[e] && !w.ended {
		w.state.Wait()
	}
	return !w.ended
}

// part cuts all wires between two sides; no arguments mend them all.
func (w *wires) part(sides ...[]int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	clear(w.cut)
	for a, left := range sides {
		for b, right := range sides {
			for _, i := range left {
				for _, j := range right {
					w.cut[[2]int{i, j}] = a != b
				}
			}
		}
	}
	w.state.Broadcast()
}

// reset ends all connections over wires that are cut, as a machine in between
// does that forgets them.
func (w *wires) reset() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for c, e := range w.open {
		if w.cut[e] {
			c.Close()
		}
	}
}

func (w *wires) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ended = true
	w.state.Broadcast()
}
