package testnet_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/confab-chat/confab/chain/query"
	"github.com/confab-chat/confab/internal/testnet"
	"github.com/confab-chat/confab/lightclient"
	"github.com/confab-chat/confab/lightclient/verify"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/wire"
)

// TestNetwork_LosesNothingThroughRestarts keeps four validators under traffic
// while one is away for a while, two are away at once, and in the end all four
// die at one moment. Whatever was proven to a client must still be there, every
// root must be that of the bare law, and each checkpoint must be sealed and the
// same on all validators.
func TestNetwork_LosesNothingThroughRestarts(t *testing.T) {
	p := namesvc.DevParams(testnet.NewChainID())
	p.WorkBits, p.WorkKiB, p.Checkpoint = 0, 8, 4
	n := start(t, testnet.Spec{Params: p, Pause: 50 * time.Millisecond})
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	listensOnlyToPeersAndQueries(t, n)
	traffic := begin(t, ctx, n, 3)
	traffic.mustGoOn(t, ctx)

	// One is away, long enough to miss a checkpoint and its seals.
	stop(t, n, 3)
	height := n.Nodes[0].Query.Heads.Newest()
	wait(t, ctx, n, height+p.Checkpoint+1)
	traffic.mustGoOn(t, ctx)
	if err := n.StartOne(3); err != nil {
		t.Fatal(err)
	}
	wait(t, ctx, n, n.Nodes[0].Query.Heads.Newest()+1)
	sameCheckpoints(t, ctx, n, (height+p.Checkpoint)/p.Checkpoint)

	// Two are away: the chain stands still, and nothing is made up.
	stop(t, n, 0)
	stop(t, n, 1)
	still := standsStill(t, ctx, n.Nodes[2].Query.Heads.Newest)
	// Now the other two die in the middle of a round, without a chance to put
	// anything in order: what is on disk at this moment is all there is.
	for _, i := range []int{2, 3} {
		as := filepath.Join(t.TempDir(), "dead")
		copyFolder(t, n.Home(i), as)
		stop(t, n, i)
		if err := os.RemoveAll(n.Home(i)); err != nil {
			t.Fatal(err)
		}
		copyFolder(t, as, n.Home(i))
	}
	for i := range n.Nodes {
		if err := n.StartOne(i); err != nil {
			t.Fatal(err)
		}
	}
	wait(t, ctx, n, still+3)
	traffic.mustGoOn(t, ctx)
	traffic.end(t, ctx)
	sameCheckpoints(t, ctx, n, still/p.Checkpoint)
	compareRoots(t, n, p)
}

func stop(t *testing.T, n *testnet.Network, i int) {
	t.Helper()
	if err := n.StopOne(i); err != nil {
		t.Fatal(err)
	}
}

func wait(t *testing.T, ctx context.Context, n *testnet.Network, height uint64) {
	t.Helper()
	if err := n.WaitHeight(ctx, height); err != nil {
		t.Fatal(err)
	}
}

// standsStill waits until a height has not changed for a while, many times what
// a block takes here, and returns it.
func standsStill(t *testing.T, ctx context.Context, height func() uint64) uint64 {
	t.Helper()
	for last, since := height(), time.Now(); ; {
		switch h := height(); {
		case h != last:
			last, since = h, time.Now()
		case time.Since(since) > time.Second:
			return h
		case ctx.Err() != nil:
			t.Fatal("the chain goes on with half of its validators")
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// copyFolder copies a folder, also one in use.
func copyFolder(t *testing.T, from, to string) {
	t.Helper()
	err := filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		target := filepath.Join(to, strings.TrimPrefix(path, from))
		if d.IsDir() {
			return os.MkdirAll(target, 0o700)
		}
		if !d.Type().IsRegular() {
			return nil // the socket of one that runs
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(target, b, 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// traffic is a few people who change their entries all the time, each after the
// proof that the last change is there.
type traffic struct {
	client *lightclient.Client
	users  []*testnet.User
	leave  context.CancelFunc
	all    sync.WaitGroup

	mu    sync.Mutex
	proof map[*testnet.User][][32]byte // profiles that were proven, in order
	news  chan struct{}
}

func begin(t *testing.T, ctx context.Context, n *testnet.Network, people int) *traffic {
	t.Helper()
	client, err := n.Client()
	if err != nil {
		t.Fatal(err)
	}
	tr := &traffic{client: client, proof: map[*testnet.User][][32]byte{}, news: make(chan struct{}, 1)}
	for range people {
		u, err := testnet.NewUser(rand.Reader, n.Chain)
		if err != nil {
			t.Fatal(err)
		}
		tr.users = append(tr.users, u)
	}
	var registered sync.WaitGroup
	for i, u := range tr.users {
		registered.Go(func() {
			if err := u.Register(ctx, client, namesvc.Handle(fmt.Sprintf("user%d", i))); err != nil {
				t.Error(err)
			}
		})
	}
	registered.Wait()
	if t.Failed() {
		t.FailNow()
	}
	going, leave := context.WithCancel(ctx)
	tr.leave = leave
	for _, u := range tr.users {
		tr.all.Go(func() {
			for i := 0; going.Err() == nil; i++ {
				profile := sha256.Sum256(fmt.Appendf(u.ID[:], "%d", i))
				op := u.Update(profile, n.Nodes[2].Query.Heads.Newest()+500)
				if _, err := client.Submit(going, op, nil); err != nil {
					if going.Err() == nil {
						t.Errorf("change %d: %v", i, err)
					}
					return
				}
				tr.mu.Lock()
				tr.proof[u] = append(tr.proof[u], profile)
				tr.mu.Unlock()
				select {
				case tr.news <- struct{}{}:
				default:
				}
			}
		})
	}
	return tr
}

// mustGoOn waits until each has another change proven.
func (tr *traffic) mustGoOn(t *testing.T, ctx context.Context) {
	t.Helper()
	count := func() (counts []int) {
		tr.mu.Lock()
		defer tr.mu.Unlock()
		for _, u := range tr.users {
			counts = append(counts, len(tr.proof[u]))
		}
		return counts
	}
	before := count()
	for {
		now := count()
		moved := 0
		for i := range now {
			if now[i] > before[i] {
				moved++
			}
		}
		if moved == len(now) {
			return
		}
		select {
		case <-tr.news:
		case <-ctx.Done():
			t.Fatalf("nothing is proven any more: %v, before %v", now, before)
		}
	}
}

// end ends the traffic and checks that all that was proven is in the accounts'
// histories, in order, by a client that knows nothing yet.
func (tr *traffic) end(t *testing.T, ctx context.Context) {
	t.Helper()
	tr.leave()
	tr.all.Wait()
	total := 0
	for _, u := range tr.users {
		profiles := profiles(t, ctx, tr.client, u.ID)
		if want := tr.proof[u]; len(profiles) < len(want) || len(profiles) > len(want)+1 || !slices.Equal(profiles[:len(want)], want) {
			t.Errorf("of %d proven changes the chain has %d", len(want), len(profiles))
		}
		total += len(profiles)
	}
	t.Logf("%d changes by %d people, none lost", total, len(tr.users))
}

// profiles returns the profiles that an account has had, in order, from its
// proven history.
func profiles(t *testing.T, ctx context.Context, c *lightclient.Client, id namesvc.AccountID) (list [][32]byte) {
	t.Helper()
	e, _, err := c.Account(ctx, id, 0)
	if err != nil {
		t.Fatal(err)
	}
	events, err := c.History(ctx, e)
	if err != nil {
		t.Fatal(err)
	}
	for _, ev := range events {
		tx, fault := namesvc.Parse(ev.Bytes)
		if fault != nil {
			t.Fatal(fault)
		}
		if tx.Op.Kind != namesvc.OpRecords {
			continue
		}
		var body namesvc.Records
		if err := wire.Decode(tx.Op.Body, &body, namesvc.MaxOp); err != nil {
			t.Fatal(err)
		}
		list = append(list, [32]byte(body.Profile))
	}
	return list
}

// sameCheckpoints checks the checkpoints up to n at every validator's API.
func sameCheckpoints(t *testing.T, ctx context.Context, n *testnet.Network, upTo uint64) {
	t.Helper()
	for number := uint64(1); number <= upTo; number++ {
		var digest [32]byte
		for i, url := range n.URLs() {
			s := sealed(t, ctx, fmt.Sprintf("%s/v1/checkpoints/%d", url, number))
			_, signers, err := n.Nodes[i].Query.Heads.Head(s.Checkpoint.Height)
			if err != nil {
				t.Fatal(err)
			}
			power, err := verify.CheckSeals(n.Chain, s.Checkpoint, *s.Seals, signers)
			if err != nil || power < 30 {
				t.Errorf("validator %d, checkpoint %d: seals of power %d, %v", i, number, power, err)
			}
			if i > 0 && s.Digest != digest {
				t.Errorf("validator %d, checkpoint %d: digest %x, another has %x", i, number, s.Digest, digest)
			}
			if digest = s.Digest; digest != s.Checkpoint.Digest(verify.ChainTag(n.Chain)) {
				t.Errorf("validator %d, checkpoint %d: the digest is another's", i, number)
			}
		}
	}
}

// sealed asks for a checkpoint until it has its seals.
func sealed(t *testing.T, ctx context.Context, url string) query.Sealed {
	t.Helper()
	for {
		req, err := http.NewRequestWithContext(ctx, "GET", url, nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(res.Body)
		res.Body.Close()
		var s query.Sealed
		if err := errors.Join(err, wire.Decode(b, &s, 1<<20)); err == nil && s.Seals != nil {
			return s
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			t.Fatalf("%s has no seals: status %d %q", url, res.StatusCode, b)
		}
	}
}

// listensOnlyToPeersAndQueries checks which ports this process has open: one for
// peers and one for queries for each validator, all on loopback, and none of
// CometBFT's RPC, profiler and metrics.
func listensOnlyToPeersAndQueries(t *testing.T, n *testnet.Network) {
	t.Helper()
	var want []string
	for _, v := range n.Nodes {
		_, peers, _ := strings.Cut(v.PeerAddr(), "@")
		want = append(want, peers, v.QueryAddr())
	}
	got, err := listening()
	if errors.Is(err, fs.ErrNotExist) {
		t.Log("this system does not say what a process listens to")
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("it listens to %v, want %v", got, want)
	}
}

// listening returns the addresses that this process listens to, from Linux's
// /proc.
func listening() ([]string, error) {
	mine := map[string]bool{} // inodes of this process's sockets
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if link, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil && strings.HasPrefix(link, "socket:[") {
			mine[strings.TrimSuffix(strings.TrimPrefix(link, "socket:["), "]")] = true
		}
	}
	var out []string
	for _, table := range []string{"/proc/self/net/tcp", "/proc/self/net/tcp6"} {
		b, err := os.ReadFile(table)
		if err != nil {
			return nil, err
		}
		for s := bufio.NewScanner(bytes.NewReader(b)); s.Scan(); {
			f := strings.Fields(s.Text())
			const listen = "0A"
			if len(f) < 10 || f[3] != listen || !mine[f[9]] {
				continue
			}
			host, port, _ := strings.Cut(f[1], ":")
			number, err := strconv.ParseUint(port, 16, 16)
			if err != nil {
				return nil, err
			}
			if host == "0100007F" {
				host = "127.0.0.1"
			}
			out = append(out, net.JoinHostPort(host, strconv.FormatUint(number, 10)))
		}
	}
	return out, nil
}
