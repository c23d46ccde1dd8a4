package lightclient_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/confab-chat/confab/internal/fakechain"
	"github.com/confab-chat/confab/lightclient"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/wire"
)

// withPast is a world in which @alice has signed eight ops.
func withPast(t testing.TB) (*world, namesvc.Entry, []lightclient.LoggedOp) {
	w := newWorld(t, fakechain.Spec{})
	for range 7 {
		w.do(w.Next(w.Sign(w.alice, namesvc.OpRenew, namesvc.Renewal{})))
	}
	e, _ := w.Entry(w.alice.ID)
	var all []lightclient.LoggedOp
	for more := true; more; {
		page, m, err := fakechain.Node{Chain: w.Chain}.Ops(t.Context(), w.alice.ID, uint64(len(all)))
		w.do(err)
		all, more = append(all, page...), m
	}
	expect(t, "ops", len(all), 8)
	return w, e, all
}

func TestHistory_IsWholeAndInOrder(t *testing.T) {
	w, e, all := withPast(t)
	events, err := w.client(w.honest("first")).History(t.Context(), e)
	w.do(err)
	expect(t, "events", len(events), 8)
	for i, ev := range events {
		if ev.Seq != uint64(i+1) || string(ev.Bytes) != string(all[i].Bytes) || ev.Height != all[i].Height || ev.Time != all[i].Time {
			t.Errorf("event %d is %+v", i, ev)
		}
	}
	expect(t, "first", events[0].Tx.Kind(), namesvc.OpRegister)
	expect(t, "last", events[7].ID, namesvc.OpID(e.LastOp))

	// What came after the entry was read is not part of the answer.
	w.do(w.Next(w.Sign(w.alice, namesvc.OpRenew, namesvc.Renewal{})))
	events, err = w.client(w.honest("first")).History(t.Context(), e)
	w.do(err)
	expect(t, "events", len(events), 8)
}

func TestHistory_BelievesNoLie(t *testing.T) {
	w, e, all := withPast(t)
	forged := w.Sign(w.harbor, namesvc.OpRenew, namesvc.Renewal{}, func(o *namesvc.Op) {
		o.Account, o.Seq, o.Prev = w.alice.ID, 4, sha256.Sum256(all[2].Bytes)
	})
	own := w.Sign(w.alice, namesvc.OpRecords, namesvc.Records{}, func(o *namesvc.Op) {
		o.Seq, o.Prev = 8, sha256.Sum256(all[6].Bytes)
	})
	commit, _ := w.Registration(fakechain.NewActor("x", namesvc.Person), "", nil)
	whole := func(change func(ops []lightclient.LoggedOp) []lightclient.LoggedOp) func(context.Context, namesvc.AccountID, uint64) ([]lightclient.LoggedOp, bool, error) {
		ops := change(slices.Clone(all))
		return func(_ context.Context, _ namesvc.AccountID, after uint64) ([]lightclient.LoggedOp, bool, error) {
			return ops[min(int(after), len(ops)):], false, nil
		}
	}
	for name, ops := range map[string]func(context.Context, namesvc.AccountID, uint64) ([]lightclient.LoggedOp, bool, error){
		"the last one is missing": whole(func(o []lightclient.LoggedOp) []lightclient.LoggedOp { return o[:7] }),
		"one is missing":          whole(func(o []lightclient.LoggedOp) []lightclient.LoggedOp { return slices.Delete(o, 3, 4) }),
		"one is missing, renumbered": whole(func(o []lightclient.LoggedOp) []lightclient.LoggedOp {
			o = append(slices.Delete(o, 3, 4), o[6])
			for i := range o {
				o[i].Seq = uint64(i + 1)
			}
			return o
		}),
		"two are swapped": whole(func(o []lightclient.LoggedOp) []lightclient.LoggedOp { o[3], o[4] = o[4], o[3]; return o }),
		"two are swapped, renumbered": whole(func(o []lightclient.LoggedOp) []lightclient.LoggedOp {
			o[3].Bytes, o[4].Bytes = o[4].Bytes, o[3].Bytes
			return o
		}),
		"one is forged":      whole(func(o []lightclient.LoggedOp) []lightclient.LoggedOp { o[3].Bytes = forged; return o }),
		"another of her own": whole(func(o []lightclient.LoggedOp) []lightclient.LoggedOp { o[7].Bytes = own; return o }),
		"a commit":           whole(func(o []lightclient.LoggedOp) []lightclient.LoggedOp { o[0].Bytes = commit; return o }),
		"another number":     whole(func(o []lightclient.LoggedOp) []lightclient.LoggedOp { o[5].Seq = 9; return o }),
		"another height":     whole(func(o []lightclient.LoggedOp) []lightclient.LoggedOp { o[5].Height--; return o }),
		"another time":       whole(func(o []lightclient.LoggedOp) []lightclient.LoggedOp { o[5].Time++; return o }),
		"garbage":            whole(func(o []lightclient.LoggedOp) []lightclient.LoggedOp { o[2].Bytes = []byte("x"); return o }),
		"nothing, and more": func(context.Context, namesvc.AccountID, uint64) ([]lightclient.LoggedOp, bool, error) {
			return nil, true, nil
		},
		"the first page again": func(context.Context, namesvc.AccountID, uint64) ([]lightclient.LoggedOp, bool, error) {
			return all[:3], true, nil
		},
		"somebody else's": func(ctx context.Context, _ namesvc.AccountID, after uint64) ([]lightclient.LoggedOp, bool, error) {
			return fakechain.Node{Chain: w.Chain}.Ops(ctx, w.harbor.ID, after)
		},
		"an error": func(context.Context, namesvc.AccountID, uint64) ([]lightclient.LoggedOp, bool, error) {
			return nil, false, wire.Errorf(wire.NotFound, "no\x1b[2J")
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := &world{t: t, Chain: w.Chain, alice: w.alice, harbor: w.harbor}
			liar := w.honest("liar")
			liar.ops = ops
			_, err := w.client(liar).History(t.Context(), e)
			if wire.CodeOf(err) != wire.Unavailable || !strings.Contains(err.Error(), "liar: ") {
				t.Errorf("alone: %v", err)
			}
			printable(t, err.Error())
			events, err := w.client(liar, w.honest("honest")).History(t.Context(), e)
			w.do(err)
			expect(t, "events", len(events), 8)
		})
	}
}

// A liar can sign any number of ops of the largest size, and what it sends is
// found out only at the end.
func TestHistory_IsBounded(t *testing.T) {
	w, e, all := withPast(t)
	long := e
	long.Seq = 300_000
	if _, err := w.client(w.honest("first")).History(t.Context(), long); wire.CodeOf(err) != wire.Exhausted {
		t.Errorf("too many ops: %v", err)
	}

	if os.Getenv("CONFAB_LONG") == "" {
		t.Skip("signing 64 MiB of ops takes seconds; CONFAB_LONG=1 does it")
	}
	long.Seq = 150_000
	sent := 0
	prev, aka := sha256.Sum256(all[0].Bytes), strings.Repeat("x", 120)
	fat := w.honest("fat")
	fat.ops = func(_ context.Context, _ namesvc.AccountID, after uint64) ([]lightclient.LoggedOp, bool, error) {
		if after == 0 {
			return all[:1], true, nil
		}
		var page []lightclient.LoggedOp
		for seq := after + 1; seq <= after+200; seq++ {
			op := w.Sign(w.alice, namesvc.OpRecords, namesvc.Records{AlsoKnownAs: slices.Repeat([]string{"a:" + aka}, 5)}, func(o *namesvc.Op) { o.Seq, o.Prev = seq, prev })
			prev = sha256.Sum256(op)
			page = append(page, lightclient.LoggedOp{Seq: seq, Bytes: op})
			sent += len(op)
		}
		return page, true, nil
	}
	_, err := w.client(fat).History(t.Context(), long)
	if err == nil || !strings.Contains(err.Error(), "67108864 bytes") {
		t.Errorf("too many bytes: %v", err)
	}
	if sent > 66<<20 {
		t.Errorf("%d bytes were taken", sent)
	}
}

func TestHistory_GivesUpOnASourceThatDripsOrStalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, e, all := withPast(t)
		drip := w.honest("drip")
		drip.ops = func(ctx context.Context, _ namesvc.AccountID, after uint64) ([]lightclient.LoggedOp, bool, error) {
			select {
			case <-ctx.Done():
				return nil, false, ctx.Err()
			case <-time.After(14 * time.Second):
				return all[after : after+1], true, nil
			}
		}
		start := time.Now()
		events, err := w.client(drip, w.honest("honest")).History(t.Context(), e)
		w.do(err)
		expect(t, "events", len(events), 8)
		expect(t, "waited", time.Since(start), 15*time.Second)
		if _, err := w.client(drip).History(t.Context(), e); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("alone: %v", err)
		}
	})
}
