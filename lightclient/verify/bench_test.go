//go:build !js

package verify_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/cometbft/cometbft/light"
	cmtproto "github.com/cometbft/cometbft/proto/tendermint/types"
	"github.com/cometbft/cometbft/types"

	"github.com/confab-chat/confab/lightclient/verify"
	"github.com/confab-chat/confab/namesvc/wire"
)

// fullScenario is n validators of equal power that are all known and all sign.
func fullScenario(b *testing.B, n int) *scenario {
	for seed := range uint64(10_000) {
		c := newScenario(rand.New(rand.NewPCG(seed, 9)), n)
		full := c.vals.Size() == n && c.vals.Validators[0].VotingPower == c.vals.Validators[n-1].VotingPower &&
			string(c.vals.Hash()) == string(c.trustedVals.Hash()) && c.head.Height > c.trusted.Height+1
		for _, s := range c.head.Commit.Signatures {
			full = full && s.BlockIDFlag == types.BlockIDFlagCommit
		}
		if full {
			return c
		}
	}
	b.Fatal("no such scenario")
	return nil
}

// sideBySide runs both in turn and reports the time of each and the ratio, so
// that a noisy machine disturbs both alike.
func sideBySide(b *testing.B, ours, theirs func() error) {
	b.Helper()
	var a, z time.Duration
	for b.Loop() {
		start := time.Now()
		err := ours()
		middle := time.Now()
		if err == nil {
			err = theirs()
		}
		a, z = a+middle.Sub(start), z+time.Since(middle)
		if err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(a.Microseconds())/float64(b.N), "confab-µs")
	b.ReportMetric(float64(z.Microseconds())/float64(b.N), "cometbft-µs")
	b.ReportMetric(float64(a)/float64(z), "ratio")
}

// A commit, with the head and the validators in memory.
func BenchmarkCheck(b *testing.B) {
	for _, n := range []int{4, 16, 100} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			c := fullScenario(b, n)
			_, h, v, err := c.convert()
			if err != nil {
				b.Fatal(err)
			}
			sideBySide(b, func() error { return h.Check(v) }, func() error {
				return c.vals.VerifyCommitLight(c.head.ChainID, c.head.Commit.BlockID, c.head.Height, c.head.Commit)
			})
		})
	}
}

// One step of a light client, from the bytes of a head and its validators to a
// new trust.
func BenchmarkAdvanceFromBytes(b *testing.B) {
	for _, n := range []int{4, 16, 100} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			c := fullScenario(b, n)
			trusted, h, v, err := c.convert()
			if err != nil {
				b.Fatal(err)
			}
			head, vals := wire.Encode(h.Trim(v)), wire.Encode(v)
			block, err := (&types.LightBlock{SignedHeader: c.head, ValidatorSet: c.vals}).ToProto()
			if err != nil {
				b.Fatal(err)
			}
			proto, err := block.Marshal()
			if err != nil {
				b.Fatal(err)
			}
			rules := verify.Rules{TrustingPeriod: c.period, MaxClockDrift: c.drift}
			sideBySide(b, func() error {
				var h verify.Head
				if err := wire.Decode(head, &h, verify.MaxHeadSize); err != nil {
					return err
				}
				var v verify.Validators
				if err := wire.Decode(vals, &v, verify.MaxValidatorsSize); err != nil {
					return err
				}
				_, err := verify.Advance(trusted, h, v, c.now, rules)
				return err
			}, func() error {
				var block cmtproto.LightBlock
				if err := block.Unmarshal(proto); err != nil {
					return err
				}
				lb, err := types.LightBlockFromProto(&block)
				if err != nil {
					return err
				}
				if err := lb.ValidateBasic(fixtureChain); err != nil {
					return err
				}
				return light.Verify(c.trusted, c.trustedVals, lb.SignedHeader, lb.ValidatorSet, c.period, c.now, c.drift,
					oneThird)
			})
			b.ReportMetric(float64(len(head)+len(vals)), "confab-B")
			b.ReportMetric(float64(len(proto)), "cometbft-B")
		})
	}
}
