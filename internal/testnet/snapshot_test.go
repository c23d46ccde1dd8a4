package testnet_test

import (
	"fmt"
	"html"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/confab-chat/confab/chain/node"
	"github.com/confab-chat/confab/lightclient"
	"github.com/confab-chat/confab/lightclient/source"
	"github.com/confab-chat/confab/lightclient/verify"
	"github.com/confab-chat/confab/namesvc"
)

// TestJoin_BySnapshotAndTakesPart: a fifth node joins a running network by a
// snapshot, with a pin that is newer than any snapshot, is voted in, proposes and
// signs. Its proofs are those of the others, and it says from where on it has the
// history.
func TestJoin_BySnapshotAndTakesPart(t *testing.T) {
	g := govern(t, 10, 1, nil)
	wait(t, g.ctx, g.Network, 12) // the first snapshot is of height 11
	begun := time.Now()
	height := g.Nodes[0].Query.Heads.Newest()
	head, _, err := g.Nodes[0].Query.Heads.Head(height)
	if err != nil {
		t.Fatal(err)
	}
	five, err := g.JoinBySnapshot(verify.Pin{ChainID: g.Chain, Height: height, Hash: head.Header.Hash()}, g.URLs()[:2])
	if err != nil {
		t.Fatal(err)
	}
	me := g.Nodes[five]
	wait(t, g.ctx, g.Network, height+1)
	t.Logf("joined within %v, with the history from height %d", time.Since(begun).Round(time.Second/10), me.App.From())
	if from := me.App.From(); from < 12 || from%10 != 2 {
		t.Fatalf("it has the history from height %d, a snapshot is of a checkpoint's next block", from)
	}

	// It serves what is proven, and does not deny what it never saw.
	s, err := source.NewHTTP("http://"+me.QueryAddr(), nil)
	if err != nil {
		t.Fatal(err)
	}
	newest := me.Query.Heads.Newest()
	at, _, err := me.Query.Heads.Head(newest)
	if err != nil {
		t.Fatal(err)
	}
	client, err := lightclient.New(lightclient.Config{
		Pin: verify.Pin{ChainID: g.Chain, Height: newest, Hash: at.Header.Hash()}, Sources: []lightclient.Source{s},
	})
	if err != nil {
		t.Fatal(err)
	}
	e, _, err := client.Account(g.ctx, g.operators[1].ID, 0)
	if err != nil {
		t.Fatalf("an account of before: %v", err)
	}
	if events, err := client.History(g.ctx, e); err == nil {
		t.Errorf("of an account with %d ops before it joined, it has %d", e.Seq, len(events))
	}

	explorerFits(t, "http://"+me.QueryAddr(), me.App.From())

	candidate := g.operators[4]
	p, err := node.Possession(g.Home(five), candidate.ID)
	if err != nil {
		t.Fatal(err)
	}
	g.submit(candidate.Offer(namesvc.Offer{Key: p.Key[:], Possession: p.Signature[:]}, g.expires()))
	g.vote(namesvc.Vote{Kind: namesvc.VotePower, Account: candidate.ID, Number: 10}, 0, 1, 2)
	g.await(five, "it is not admitted", func() bool { return len(g.set(five).List) == 5 })
	g.awaitVote(0, p.Key)
	g.proposes(five)
	g.seals(0)
}

// links are those of a page to the explorer and to the API.
var links = regexp.MustCompile(`href="(/(?:explorer|v1)/[^"]*)"`)

// explorerFits follows all links of the explorer of a node that joined by a snapshot.
// Whatever a page offers must be there, bundles too, although most of the chain is
// from before the node came; and what is not there gets a sentence.
func explorerFits(t *testing.T, base string, from uint64) {
	t.Helper()
	get := func(path string) (int, string) {
		res, err := http.Get(base + path)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		b, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res.StatusCode, string(b)
	}
	const most = 120 // the chain goes on meanwhile, and with it its pages
	seen, bundles := map[string]bool{"/": true}, 0
	for queue := []string{"/"}; len(queue) > 0 && len(seen) < most; queue = queue[1:] {
		status, body := get(queue[0])
		if status != http.StatusOK {
			t.Errorf("%s, which a page links to: status %d: %.300s", queue[0], status, body)
		}
		if strings.HasPrefix(queue[0], "/v1/bundle") {
			bundles++
		}
		if strings.HasPrefix(queue[0], "/v1/") {
			continue
		}
		for _, m := range links.FindAllStringSubmatch(body, -1) {
			if path := html.UnescapeString(m[1]); !seen[path] {
				seen[path] = true
				queue = append(queue, path)
			}
		}
	}
	if bundles == 0 {
		t.Errorf("among %d pages nothing offers a bundle", len(seen))
	}
	if _, body := get("/"); !strings.Contains(body, fmt.Sprintf("of blocks from %d on", from)) {
		t.Error("the overview does not say from where on records are here")
	}
	if status, body := get(fmt.Sprintf("/explorer/blocks/%d", from-2)); status != http.StatusOK || !strings.Contains(body, "before this validator’s time") || strings.Contains(body, "<dd>0</dd>") {
		t.Errorf("a block from before it joined: status %d: %.300s", status, body)
	}
	t.Logf("%d pages, %d bundles", len(seen), bundles)
}

// proposes waits until node i has proposed a block that the others took.
func (g *governed) proposes(i int) {
	g.t.Helper()
	id, err := node.LoadIdentity(g.Home(i))
	if err != nil {
		g.t.Fatal(err)
	}
	g.await(0, "it does not propose", func() bool {
		head, _, err := g.Nodes[0].Query.Heads.Head(g.Nodes[0].Query.Heads.Newest())
		return err == nil && head.Header.Proposer == id.Address
	})
}
