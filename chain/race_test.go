package chain_test

import (
	"bytes"
	"sync"
	"sync/atomic"
	"testing"

	abci "github.com/cometbft/cometbft/abci/types"

	"github.com/confab-chat/confab/lightclient/verify"
	"github.com/confab-chat/confab/namesvc"
)

// TestApp_ConnectionsDoNotDisturbOneAnother runs the consensus connection
// beside a mempool and readers, as CometBFT and the query server do. The race
// detector sees what they share; the bare law beside the app sees the rest.
func TestApp_ConnectionsDoNotDisturbOneAnother(t *testing.T) {
	p := testParams()
	p.Checkpoint = 3
	m := newMachine(t, p)
	m.must(t)
	people := m.register(t, 8)
	var blocks [][][]byte
	var all [][]byte
	for i := range 12 {
		var block [][]byte
		for _, who := range people {
			block = append(block, who.op(namesvc.OpRecords, namesvc.Records{Profile: bytes.Repeat([]byte{byte(i)}, 32)}, who.device, m.height+100))
		}
		blocks, all = append(blocks, block), append(all, block...)
	}
	app := m.app
	var stop atomic.Bool
	var others sync.WaitGroup
	defer func() {
		stop.Store(true)
		others.Wait()
	}()
	beside := func(f func(i int) error) {
		others.Go(func() {
			for i := 0; !stop.Load(); i++ {
				if err := f(i); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	beside(func(i int) error {
		_, err := app.CheckTx(ctx, &abci.RequestCheckTx{Tx: all[i%len(all)]})
		return err
	})
	beside(func(i int) error {
		tx, _ := app.Parse(all[i%len(all)])
		_, _, err := app.Receipt(tx.ID)
		return err
	})
	beside(func(i int) error {
		mark, _ := app.Last()
		app.Params()
		if _, _, err := app.Seals(uint64(i % 5)); err != nil {
			return err
		}
		if _, _, err := app.Checkpoint(uint64(i % 5)); err != nil {
			return err
		}
		_, err := app.Blocks(mark.Height-min(mark.Height, 3), 5)
		return err
	})
	beside(func(i int) error {
		_, err := app.History(people[i%len(people)].id, 0, 100)
		return err
	})
	for i, block := range blocks {
		if got := m.propose(t, block, 1<<20); len(got) != len(block) {
			t.Errorf("%d of %d ops proposed", len(got), len(block))
		}
		m.accepts(t, block)
		m.must(t, block...)
		app.KeepSeals(uint64(i), verify.Seals{Height: m.height, Signatures: make([]verify.Signature, 4)})
	}
	list, err := app.History(people[0].id, 0, 100)
	if err != nil || len(list) != 1+len(blocks) {
		t.Errorf("%d ops in the history, want %d: %v", len(list), 1+len(blocks), err)
	}
}
