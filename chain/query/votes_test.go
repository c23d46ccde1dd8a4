package query_test

import (
	"context"
	"crypto/rand"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/confab-chat/confab/chain/query"
	"github.com/confab-chat/confab/internal/testnet"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/wire"
)

// TestVotes_SayWhoDecidesAndWhatIsOpen asks a chain of one validator whose
// operator has voted.
func TestVotes_SayWhoDecidesAndWhatIsOpen(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	p := namesvc.DevParams(testnet.NewChainID())
	p.WorkBits, p.WorkKiB, p.Checkpoint = 0, 8, 1000
	anna, err := testnet.NewService(rand.Reader, p.Chain)
	if err != nil {
		t.Fatal(err)
	}
	n, err := testnet.Start(ctx, testnet.Spec{
		Dir: t.TempDir(), Validators: 1, Params: p, Pause: 20 * time.Millisecond, Operators: []namesvc.AccountID{anna.ID},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Stop() })
	client, err := n.Client()
	if err != nil {
		t.Fatal(err)
	}
	if err := anna.Register(ctx, client, "anna"); err != nil {
		t.Fatal(err)
	}
	vote := namesvc.Vote{Kind: namesvc.VotePower, Account: anna.ID, Number: 12, Until: uint64(time.Now().Add(time.Hour).Unix())}
	if _, err := client.Submit(ctx, anna.Vote(vote, 500), nil); err != nil {
		t.Fatal(err)
	}
	res, err := http.Get(n.URLs()[0] + "/v1/votes")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	var v query.Votes
	if err := wire.Decode(b, &v, query.MaxVotes); err != nil {
		t.Fatal(err)
	}
	if len(v.Validators) != 1 || v.Validators[0].Operator != anna.ID || v.Validators[0].Power != 10 || v.Checkpoint != 1000 || v.Rules.Rules != 1 || v.Known != namesvc.Rules {
		t.Errorf("%+v", v)
	}
	if v.Name(anna.ID) != "@anna" || v.Name(namesvc.AccountID{1}) != (namesvc.AccountID{1}).String() {
		t.Errorf("names: %v", v.Names)
	}
	if len(v.Tallies) != 1 || v.Tallies[0].Vote != vote || !v.Tallies[0].Carried() || len(v.Leaving) != 0 {
		t.Errorf("open: %+v", v.Tallies)
	}
}
