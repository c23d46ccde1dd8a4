package query_test

import (
	"os"
	"testing"
	"time"

	"github.com/confab-chat/confab/chain/query"
	"github.com/confab-chat/confab/internal/fakechain"
	"github.com/confab-chat/confab/lightclient/bundle"
	"github.com/confab-chat/confab/lightclient/verify"
)

// TestPath_AFirstLookupIsSmallAtAnyAge asks for the newest head from a pin that
// is one, a thousand and a hundred thousand blocks old, with validators that stay
// and with some that are replaced at each checkpoint: a third every six hours,
// which is the most that the law allows.
func TestPath_AFirstLookupIsSmallAtAnyAge(t *testing.T) {
	ages, sizes := []int{1, 1_000, 20_000}, []int{4, 16}
	if os.Getenv("CONFAB_LONG") != "" {
		ages, sizes = []int{1, 1_000, 100_000}, []int{4, 16, 100}
	}
	for _, validators := range sizes {
		for _, turnover := range []bool{false, true} {
			c := fakechain.New(fakechain.Spec{Set: fakechain.Equal(0, validators)})
			s := &query.Server{Chain: c.ID(), Heads: live{c}}
			first := 0
			for _, age := range ages {
				for ; c.Height() < 1+uint64(age); c.Skip(1) {
					if turnover && c.Height()%20_000 == 100 {
						first += validators / 3
						c.SetValidators(fakechain.Equal(first, validators))
					}
				}
				b, err := s.Bundle(query.Ask{At: c.Height(), Pin: 1})
				if err != nil {
					t.Fatal(err)
				}
				data := b.Encode()
				trust := bundle.Trust{Pin: c.Pin(1), Rules: verify.DefaultRules(), MaxAge: time.Minute}
				start := time.Now()
				if _, err := bundle.Verify(data, trust, c.Now()); err != nil {
					t.Fatal(err)
				}
				t.Logf("%3d validators, turnover %-5v %6d blocks: %2d heads, %6d bytes, verified in %v",
					validators, turnover, age, len(b.Steps), len(data), time.Since(start).Round(time.Millisecond/10))
				if len(data) > 100_000-2_300 { // what a handle's leaves and proofs add
					t.Errorf("%d bytes are more than a first lookup may take", len(data))
				}
			}
		}
	}
}

// live gives out a made-up chain's heads.
type live struct{ *fakechain.Chain }

func (l live) Newest() uint64 { return l.Height() }

func (l live) Head(height uint64) (verify.Head, verify.Validators, error) {
	head, set := l.Chain.Head(height)
	return head, set.Validators, nil
}
