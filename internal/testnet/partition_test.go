package testnet_test

import (
	"context"
	"testing"
	"time"

	"github.com/confab-chat/confab/internal/testnet"
	"github.com/confab-chat/confab/namesvc"
)

// TestPartition_NothingForksAndNothingIsLost cuts a network in halves, then a
// single validator off. Halves stand still; three go on and the fourth catches
// up; afterwards all agree on everything that was ever proven.
func TestPartition_NothingForksAndNothingIsLost(t *testing.T) {
	w := newWires(t)
	p := namesvc.DevParams(testnet.NewChainID())
	p.WorkBits, p.WorkKiB, p.Checkpoint = 0, 8, 8
	n := start(t, testnet.Spec{Params: p, Pause: 50 * time.Millisecond, Parts: onlyThese, Edge: w.edge})
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	traffic := begin(t, ctx, n, 3)
	traffic.mustGoOn(t, ctx)

	// 2 | 2
	w.part([]int{0, 1}, []int{2, 3})
	left := standsStill(t, ctx, n.Nodes[0].Query.Heads.Newest)
	right := standsStill(t, ctx, n.Nodes[2].Query.Heads.Newest)
	// A block that was on its way may be final on one side and unknown on the other.
	if max(left, right)-min(left, right) > 1 {
		t.Errorf("one half is at height %d, the other at %d", left, right)
	}
	w.part()
	wait(t, ctx, n, max(left, right)+2)
	traffic.mustGoOn(t, ctx)

	// 3 | 1, the connections forgotten
	w.part([]int{0, 1, 2}, []int{3})
	w.reset()
	alone := standsStill(t, ctx, n.Nodes[3].Query.Heads.Newest)
	traffic.mustGoOn(t, ctx)
	for _, v := range n.Nodes[:3] {
		if h := v.Query.Heads.Newest(); h <= alone {
			t.Errorf("three validators are at height %d, the fourth, alone, at %d", h, alone)
		}
	}
	w.part()
	wait(t, ctx, n, n.Nodes[0].Query.Heads.Newest()+1)
	traffic.mustGoOn(t, ctx)
	traffic.end(t, ctx)
	compareRoots(t, n, p)
}
