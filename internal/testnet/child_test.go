//go:build unix

package testnet_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	abci "github.com/cometbft/cometbft/abci/types"

	"github.com/confab-chat/confab/chain/node"
	"github.com/confab-chat/confab/internal/remote"
	"github.com/confab-chat/confab/lightclient/verify"
)

// What a test tells its child, a validator in a process of its own.
const (
	childHome  = "CONFAB_TEST_VALIDATOR" // its folder
	childDeath = "CONFAB_TEST_DEATH"     // where it is killed: "point:count"
)

// childQuery is what a child says before the address of its query API, once it
// runs.
const childQuery = "queries at "

// TestMain makes of this binary a validator or a client, if it is told to be one.
func TestMain(m *testing.M) {
	if home := os.Getenv(childHome); home != "" {
		os.Exit(childMain(home))
	}
	if url := os.Getenv(childClient); url != "" {
		if err := clientMain(url); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// childMain runs a validator as confab-validator does, until it is interrupted
// or comes to the point where it has to die.
func childMain(home string) int {
	logger := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	c, err := node.LoadConfig(home)
	if err != nil {
		logger.Error("config", "err", err)
		return 1
	}
	parts := newDeath(os.Getenv(childDeath)).parts()
	if c.Join.Pin != "" {
		if parts.Trusted, err = trusted(c.Join); err != nil {
			logger.Error("join", "err", err)
			return 1
		}
	}
	v, err := node.OpenWith(home, c, parts, logger)
	if err != nil {
		logger.Error("open", "err", err)
		return 1
	}
	if err := v.Start(); err != nil {
		logger.Error("start", "err", err)
		return 1
	}
	fmt.Println(childQuery + v.QueryAddr())
	failed := false
	select {
	case <-ctx.Done():
	case <-v.Failed():
		failed = true
	}
	if err := v.Stop(); err != nil || failed {
		logger.Error("stopped by itself", "err", err)
		return 1
	}
	return 0
}

// trusted is what a node that joins verifies by.
func trusted(c node.JoinConfig) (node.Trusted, error) {
	pin, err := verify.ParsePin(c.Pin)
	if err != nil {
		return nil, err
	}
	return remote.New(pin, c.Sources, nil)
}

// death kills the process, as power does, when it has come to a point so many
// times.
type death struct {
	point string
	left  atomic.Int64
	// restoring is set while a snapshot is on its way into the store.
	restoring atomic.Bool
}

func newDeath(text string) *death {
	point, count, _ := strings.Cut(text, ":")
	d := &death{point: point}
	n, err := strconv.ParseInt(count, 10, 64)
	if err != nil && text != "" {
		panic("not a point and a count: " + text)
	}
	d.left.Store(n)
	return d
}

// at is called at each point.
func (d *death) at(point string) {
	if point == d.point && d.left.Add(-1) == 0 {
		die()
	}
}

func die() {
	syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {} // the signal is on its way
}

func (d *death) parts() node.Parts {
	return node.Parts{
		App: func(own abci.Application) abci.Application { return &dyingApp{Application: own, d: d} },
		Disk: errorfs.Wrap(vfs.Default, errorfs.InjectorFunc(func(op errorfs.Op) error {
			if op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
				d.at("store-write")
				if d.restoring.Load() {
					d.at("restore-write")
				}
			}
			return nil
		})),
	}
}

// dyingApp is the app with points at which the process can die.
type dyingApp struct {
	abci.Application
	d      *death
	chunks uint32 // of the snapshot that is being taken
	taken  atomic.Bool
}

func (a *dyingApp) ProcessProposal(ctx context.Context, r *abci.RequestProcessProposal) (*abci.ResponseProcessProposal, error) {
	a.d.at("proposal")
	return a.Application.ProcessProposal(ctx, r)
}

func (a *dyingApp) ExtendVote(ctx context.Context, r *abci.RequestExtendVote) (*abci.ResponseExtendVote, error) {
	a.d.at("vote")
	return a.Application.ExtendVote(ctx, r)
}

func (a *dyingApp) FinalizeBlock(ctx context.Context, r *abci.RequestFinalizeBlock) (*abci.ResponseFinalizeBlock, error) {
	a.d.at("finalize")
	res, err := a.Application.FinalizeBlock(ctx, r)
	a.d.at("finalized")
	return res, err
}

func (a *dyingApp) Commit(ctx context.Context, r *abci.RequestCommit) (*abci.ResponseCommit, error) {
	a.d.at("commit")
	res, err := a.Application.Commit(ctx, r)
	a.d.at("committed")
	return res, err
}

func (a *dyingApp) Info(ctx context.Context, r *abci.RequestInfo) (*abci.ResponseInfo, error) {
	if a.taken.Load() {
		a.d.at("look at what was taken")
	}
	return a.Application.Info(ctx, r)
}

func (a *dyingApp) ListSnapshots(ctx context.Context, r *abci.RequestListSnapshots) (*abci.ResponseListSnapshots, error) {
	a.d.at("list")
	res, err := a.Application.ListSnapshots(ctx, r)
	a.d.at("listed")
	return res, err
}

func (a *dyingApp) LoadSnapshotChunk(ctx context.Context, r *abci.RequestLoadSnapshotChunk) (*abci.ResponseLoadSnapshotChunk, error) {
	a.d.at("load")
	res, err := a.Application.LoadSnapshotChunk(ctx, r)
	a.d.at("loaded")
	return res, err
}

func (a *dyingApp) OfferSnapshot(ctx context.Context, r *abci.RequestOfferSnapshot) (*abci.ResponseOfferSnapshot, error) {
	a.d.at("offer")
	a.d.restoring.Store(true)
	a.chunks = r.Snapshot.GetChunks()
	res, err := a.Application.OfferSnapshot(ctx, r)
	a.d.at("offered")
	return res, err
}

func (a *dyingApp) ApplySnapshotChunk(ctx context.Context, r *abci.RequestApplySnapshotChunk) (*abci.ResponseApplySnapshotChunk, error) {
	a.d.at("apply")
	res, err := a.Application.ApplySnapshotChunk(ctx, r)
	if err == nil && res.Result == abci.ResponseApplySnapshotChunk_ACCEPT && r.Index+1 == a.chunks {
		a.d.restoring.Store(false)
		a.taken.Store(true)
		if a.d.point == "µs after it was taken" { // between CometBFT's own writes
			time.AfterFunc(time.Duration(a.d.left.Load())*time.Microsecond, die)
		}
	}
	a.d.at("applied")
	return res, err
}

// child is a validator in a process of its own.
type child struct {
	*exec.Cmd
	said transcript
	gone chan struct{} // closed when it has ended
}

// transcript is what a process has said so far.
type transcript struct {
	mu   sync.Mutex
	text strings.Builder
}

func (t *transcript) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.text.Write(b)
}

func (t *transcript) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.text.String()
}

// killed reports whether it was killed, as opposed to having ended.
func (c *child) killed() bool {
	status, ok := c.ProcessState.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == syscall.SIGKILL
}

// spawn starts a validator on a folder, to die at a point if that is given, or
// at one of CometBFT's own, by number, if that is not negative.
func spawn(t testing.TB, home, point string, comet int) *child {
	t.Helper()
	c := &child{Cmd: exec.Command(os.Args[0]), gone: make(chan struct{})}
	c.Env = append(os.Environ(), childHome+"="+home, childDeath+"="+point)
	if comet >= 0 {
		c.Env = append(c.Env, fmt.Sprintf("FAIL_TEST_INDEX=%d", comet))
	}
	c.Stdout, c.Stderr = &c.said, &c.said
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Process.Kill(); <-c.gone })
	go func() { c.Wait(); close(c.gone) }()
	return c
}

// end interrupts a validator and waits for it.
func (c *child) end(t testing.TB) {
	t.Helper()
	c.Process.Signal(os.Interrupt)
	<-c.gone
	if !c.ProcessState.Success() {
		t.Errorf("interrupted, it ended with %v: %s", c.ProcessState, c.said.String())
	}
}
