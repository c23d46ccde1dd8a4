//go:build unix

package testnet_test

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	mrand "math/rand/v2"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/confab-chat/confab/chain/node"
	"github.com/confab-chat/confab/internal/testnet"
	"github.com/confab-chat/confab/lightclient"
	"github.com/confab-chat/confab/lightclient/source"
	"github.com/confab-chat/confab/namesvc"
)

// TestCrash_AtEveryPointLosesNothing kills a validator, a real process, at each
// point where it has written something and not yet the next: around the app's
// calls, at CometBFT's own points between its files, and at writes of the store.
// Somebody changes an entry all the while. Each time the process comes back, and
// in the end everything that was ever proven is there.
func TestCrash_AtEveryPointLosesNothing(t *testing.T) {
	p := namesvc.DevParams(testnet.NewChainID())
	p.WorkBits, p.WorkKiB, p.Checkpoint = 0, 8, 5
	spec := testnet.Spec{Dir: t.TempDir(), Validators: 1, Params: p, Pause: 10 * time.Millisecond}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	homes, all := found(t, ctx, spec, 1)
	home, w := homes[0], all[0]

	type death struct {
		point string
		comet int
	}
	var deaths []death
	for _, point := range []string{"proposal", "vote", "finalize", "finalized", "commit", "committed"} {
		deaths = append(deaths, death{point + ":1", -1}, death{point + ":25", -1})
	}
	for i := range 9 { // as many as CometBFT has for each block
		deaths = append(deaths, death{"", i}, death{"", 9*25 + i})
	}
	rng := mrand.New(mrand.NewPCG(1, 2))
	for range 12 {
		deaths = append(deaths, death{fmt.Sprintf("store-write:%d", 1+rng.IntN(300)), -1})
	}
	for _, d := range deaths {
		c := spawn(t, home, d.point, d.comet)
		w.writeUntil(ctx, c.gone)
		select {
		case <-c.gone:
		case <-ctx.Done():
			t.Fatalf("%+v: it does not come to this point: %s", d, c.said.String())
		}
		if c.ProcessState.Success() {
			t.Fatalf("%+v: it ended in good order", d)
		}
	}
	c := spawn(t, home, "", -1)
	proven := len(w.proven)
	w.writeFor(ctx, 3)
	c.end(t)
	t.Logf("%d deaths; %d changes proven between them", len(deaths), proven)
	check(t, ctx, spec, all)
}

// writer is somebody who changes an entry again and again, at validators that
// die and come back.
type writer struct {
	t      *testing.T
	client *lightclient.Client
	user   *testnet.User
	next   []byte // the op on its way
	made   [32]byte
	proven [][32]byte
}

// found makes a network's folders, registers some writers there, and stops it.
// What it returns are the folders of the validators, to be run as processes.
func found(t *testing.T, ctx context.Context, spec testnet.Spec, people int) (homes []string, all []*writer) {
	t.Helper()
	n, err := testnet.Start(ctx, spec)
	if err != nil {
		t.Fatal(err)
	}
	pin, err := n.Pin()
	if err != nil {
		t.Fatal(err)
	}
	var urls []lightclient.Source
	for i := range n.Nodes {
		homes = append(homes, n.Home(i))
		c, err := node.LoadConfig(n.Home(i))
		if err != nil {
			t.Fatal(err)
		}
		from, err := source.NewHTTP("http://"+c.Query.Listen, nil)
		if err != nil {
			t.Fatal(err)
		}
		urls = append(urls, from)
	}
	for i := range people {
		w := &writer{t: t}
		// Everybody asks another validator first.
		first := i % len(urls)
		from := slices.Concat(urls[first:], urls[:first])
		if w.client, err = lightclient.New(lightclient.Config{Pin: pin, Sources: from}); err != nil {
			t.Fatal(err)
		}
		if w.user, err = testnet.NewUser(rand.Reader, n.Chain); err != nil {
			t.Fatal(err)
		}
		if err := w.user.Register(ctx, w.client, namesvc.Handle(fmt.Sprintf("writer%d", i))); err != nil {
			t.Fatal(err)
		}
		all = append(all, w)
	}
	if err := n.Stop(); err != nil {
		t.Fatal(err)
	}
	return homes, all
}

// write makes the next change, or goes on with one that is not proven yet, and
// reports whether that is proven now.
func (w *writer) write(ctx context.Context) bool {
	if w.next == nil {
		info, err := w.client.Chain(ctx)
		if err != nil {
			return false
		}
		w.made = sha256.Sum256(fmt.Appendf(nil, "profile %d", len(w.proven)))
		w.next = w.user.Update(w.made, info.Proof.Height+1000)
	}
	if _, err := w.client.Submit(ctx, w.next, nil); err != nil {
		return false
	}
	w.proven = append(w.proven, w.made)
	w.next = nil
	return true
}

// writeUntil writes until the validator is gone.
func (w *writer) writeUntil(ctx context.Context, gone <-chan struct{}) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-gone:
			cancel()
		case <-ctx.Done():
		}
	}()
	for ctx.Err() == nil {
		w.write(ctx)
	}
}

// writeFor makes so many changes.
func (w *writer) writeFor(ctx context.Context, n int) {
	w.t.Helper()
	for want := len(w.proven) + n; len(w.proven) < want; w.write(ctx) {
		if ctx.Err() != nil {
			w.t.Fatalf("of %d changes only %d are proven", want, len(w.proven))
		}
	}
}

// check starts the network in this process and compares all that was proven with
// the accounts' histories, and every root with the bare law.
func check(t *testing.T, ctx context.Context, spec testnet.Spec, all []*writer) {
	t.Helper()
	n, err := testnet.Start(ctx, spec)
	if err != nil {
		t.Fatal(err)
	}
	defer n.Stop()
	client, err := n.Client()
	if err != nil {
		t.Fatal(err)
	}
	total := 0
	for _, w := range all {
		// One more may have been taken that its writer was not told of.
		got := profiles(t, ctx, client, w.user.ID)
		if len(got) < len(w.proven) || len(got) > len(w.proven)+1 || !slices.Equal(got[:len(w.proven)], w.proven) {
			t.Errorf("of %d proven changes the chain has %d", len(w.proven), len(got))
		}
		total += len(w.proven)
	}
	t.Logf("%d changes by %d people were proven, none is lost", total, len(all))
	compareRoots(t, n, spec.Params)
}

// TestKills_UnderLoad runs four validators as processes and kills one after
// another, at any moment, sometimes several at once, while people change their
// entries. With CONFAB_LONG=1 it goes on for half an hour.
func TestKills_UnderLoad(t *testing.T) {
	for_, people := 10*time.Second, 4
	if os.Getenv("CONFAB_LONG") != "" {
		for_, people = 30*time.Minute, 32
	}
	p := namesvc.DevParams(testnet.NewChainID())
	p.WorkBits, p.WorkKiB, p.Checkpoint = 0, 8, 16
	spec := testnet.Spec{Dir: t.TempDir(), Params: p, Pause: 50 * time.Millisecond}
	ctx, cancel := context.WithTimeout(t.Context(), for_+2*time.Minute)
	defer cancel()
	homes, all := found(t, ctx, spec, people)
	validators := make([]*child, len(homes))
	for i, home := range homes {
		validators[i] = spawn(t, home, "", -1)
	}
	writing, enough := context.WithCancel(ctx)
	var done sync.WaitGroup
	for _, w := range all {
		done.Go(func() {
			for writing.Err() == nil {
				if w.write(writing) {
					continue
				}
				select { // all may be away at once
				case <-time.After(100 * time.Millisecond):
				case <-writing.Done():
				}
			}
		})
	}
	rng, kills := mrand.New(mrand.NewPCG(3, 4)), 0
	for end := time.Now().Add(for_); time.Now().Before(end) && ctx.Err() == nil; {
		select {
		case <-time.After(time.Duration(rng.IntN(4000)) * time.Millisecond):
		case <-ctx.Done():
		}
		victims := rng.Perm(len(validators))[:1+rng.IntN(5)/4]
		for _, i := range victims {
			validators[i].Process.Kill()
			<-validators[i].gone
			kills++
		}
		for _, i := range victims {
			validators[i] = spawn(t, homes[i], "", -1)
		}
	}
	before := make([]int, len(all))
	enough()
	done.Wait()
	for i, w := range all {
		before[i] = len(w.proven)
		w.writeFor(ctx, 1) // they all go on
	}
	for _, v := range validators {
		v.end(t)
	}
	t.Logf("%d kills in %v; changes proven meanwhile: %v", kills, for_, before)
	check(t, ctx, spec, all)
}
