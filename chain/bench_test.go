package chain_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/cometbft/cometbft/abci/example/kvstore"
	abci "github.com/cometbft/cometbft/abci/types"

	"github.com/confab-chat/confab/chain"
	"github.com/confab-chat/confab/chain/store"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/key"
	"github.com/confab-chat/confab/namesvc/statetree"
)

// batch is how many ops one block of the benchmarks carries.
const batch = 1000

// BenchmarkApp measures what an op costs a validator, all of its four looks at
// it included (mempool, own proposal, vote, block), in CPU time of the process
// with compaction and garbage collection. Beside it, in the same run: CometBFT's
// kvstore app with transactions of equal size, one Ed25519 check, and the state
// tree with its store alone. Memory-hard work is set to nothing.
func BenchmarkApp(b *testing.B) {
	sizes := []int{1000, 100_000}
	if os.Getenv("CONFAB_LONG") != "" {
		sizes = append(sizes, 1_000_000)
	}
	for _, names := range sizes {
		b.Run(fmt.Sprintf("update/names=%d", names), func(b *testing.B) { benchApp(b, names, updates, 1, 1) })
		b.Run(fmt.Sprintf("register/names=%d", names), func(b *testing.B) { benchApp(b, names, registrations, 2, 4) })
	}
}

// maker makes the ops of one block; before holds ops that an earlier block must
// carry.
type maker func(b *testing.B, w *world) (before, ops [][]byte)

// benchApp measures blocks of one sort of op. An op has so many signatures, and
// writes so many leaves: a registration is signed by a root key, its device
// agrees, and it writes handle, entry, devices and commit.
func benchApp(b *testing.B, names int, ops maker, signatures, leavesEach int) {
	w := newWorld(b, names)
	var done, size, blocks int
	var ours, checks time.Duration
	sigs := newSigned()
	for b.Loop() {
		before, block := ops(b, w)
		if len(before) > 0 {
			w.m.must(b, before...)
		}
		for _, op := range block {
			size += len(op)
		}
		done += len(block)
		blocks++
		start := cpu()
		w.m.whole(b, block)
		ours += cpu() - start
		checks += sigs.check()
	}
	per := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / float64(done) / 1000 }
	base := kvstoreCPU(b, done, size/done)
	sig := time.Duration(signatures) * checks / time.Duration(blocks)
	tree := w.treeCPU(b, done, leavesEach)
	sum := per(base) + float64(sig.Nanoseconds())/1000 + per(tree)
	b.ReportMetric(per(ours), "cpu-µs/op")
	b.ReportMetric(per(base), "kvstore-µs/op")
	b.ReportMetric(float64(sig.Nanoseconds())/1000, "ed25519-µs")
	b.ReportMetric(per(tree), "tree-µs/op")
	b.ReportMetric(per(ours)/sum, "ratio")
	b.ReportMetric(float64(size)/float64(done), "B/op-size")
	b.ReportMetric(0, "ns/op")
	if os.Getenv("CONFAB_LONG") != "" && per(ours)/sum > 1.25 {
		b.Errorf("an op costs %.2f times its parts; the target is 1.25", per(ours)/sum)
	}
}

// cpu returns the CPU time that the process has used.
func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// world is a chain with many names, and the devices that own them.
type world struct {
	m      *machine
	owners []*person
	next   int
}

func newWorld(b *testing.B, names int) *world {
	b.Helper()
	p := namesvc.DevParams("confab-bench")
	p.WorkBits, p.WorkKiB, p.QuotaEvery, p.Daily = 0, 8, 0, 1<<30
	p.Checkpoint = 1 << 20
	p.Lanes = namesvc.Lanes{Renewals: 1 << 20, Updates: 1 << 20, Commits: 1 << 20, Registrations: 1 << 20}
	m := newMachine(b, p)
	m.twin = nil // the law beside it would be measured too
	m.must(b)
	w := &world{m: m}
	rng := rand.NewChaCha8([32]byte{byte(names)})
	var changes []statetree.Change
	for i := range names {
		who := w.settle(b, rng, i)
		handle := namesvc.Handle("n" + hex.EncodeToString(binary.BigEndian.AppendUint32(nil, uint32(i))))
		e, d := who.entry(handle, m.time)
		leaf := namesvc.HandleLeaf{Version: 1, Account: who.id, Generation: 1, Handle: handle, Registered: m.time}
		changes = append(changes,
			statetree.Change{Key: statetree.Key(namesvc.AccountKey(who.id)), Value: e.Encode()},
			statetree.Change{Key: statetree.Key(namesvc.DevicesKey(who.id)), Value: d.Encode()},
			statetree.Change{Key: statetree.Key(namesvc.HandleKey(handle.Skeleton())), Value: leaf.Encode()})
	}
	m.load(b, changes)
	rand.New(rng).Shuffle(len(w.owners), func(i, j int) { w.owners[i], w.owners[j] = w.owners[j], w.owners[i] })
	return w
}

// settle makes an owner from a seed. Their root key stays unused and may be
// anything valid.
func (w *world) settle(b *testing.B, rng *rand.ChaCha8, i int) *person {
	var seed [32]byte
	rng.Read(seed[:])
	who := &person{t: b, device: key.DeviceFromSeed(seed), chain: w.m.params.Chain, seq: 1}
	binary.BigEndian.PutUint64(seed[:], uint64(i))
	who.id = sha256.Sum256(seed[:])
	who.last = who.id
	w.owners = append(w.owners, who)
	return who
}

func (p *person) entry(h namesvc.Handle, now uint64) (namesvc.Entry, namesvc.Devices) {
	d := namesvc.Devices{Version: 1, Account: p.id, Seq: 1, List: []namesvc.Device{{
		Key: p.device.Public(), Scopes: namesvc.AllScopes, Added: now, Expires: now + 1<<25,
	}}}
	return namesvc.Entry{
		Version: 1, Account: p.id, Kind: namesvc.Person, Generation: 1, Seq: 1, LastOp: p.last,
		OpLog: [][32]byte{{1}}, Roots: []key.Public{p.device.Public()}, NextRoot: make([]byte, 32),
		Handles: []namesvc.Lease{{Handle: h, Generation: 1}}, DevicesRoot: d.Root(), DeviceSeq: 1,
		Records:    namesvc.Records{Profile: make([]byte, 32), Avatar: make([]byte, 32), Concierges: []namesvc.Concierge{{Account: p.id, Generation: 1}}},
		Registered: now, LastActive: now, Expires: now + 1<<25, Lapses: now + 1<<26,
	}, d
}

// load writes leaves straight into the store, as blocks without ops.
func (m *machine) load(b *testing.B, changes []statetree.Change) {
	b.Helper()
	slices.SortFunc(changes, func(x, y statetree.Change) int { return bytes.Compare(x.Key[:], y.Key[:]) })
	const chunk = 30_000
	for len(changes) > 0 {
		n := min(chunk, len(changes))
		m.height++
		p, err := m.store.Prepare(m.height, changes[:n])
		if err != nil {
			b.Fatal(err)
		}
		mark, _ := m.app.Last()
		mark.Height = m.height
		if err := p.Commit(store.Also{Records: chain.MarkRecord(mark)}); err != nil {
			b.Fatal(err)
		}
		changes = changes[n:]
	}
	app, err := chain.New(m.store, m.params.Chain, slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	m.app = app
}

// updates is a block in which a thousand people change their profile.
func updates(b *testing.B, w *world) (before, ops [][]byte) {
	for range batch {
		who := w.owners[w.next%len(w.owners)]
		w.next++
		profile := sha256.Sum256(who.last[:])
		ops = append(ops, who.op(namesvc.OpRecords, namesvc.Records{
			Profile: profile[:], Avatar: make([]byte, 32), Concierges: []namesvc.Concierge{{Account: who.id, Generation: 1}},
		}, who.device, w.m.height+1000))
	}
	return nil, ops
}

// registrations is a block of reveals, behind one with their commits.
func registrations(b *testing.B, w *world) (commits, reveals [][]byte) {
	for range batch {
		who := newPerson(b, w.m.params.Chain)
		w.next++
		c, r := who.registration(namesvc.Handle(fmt.Sprintf("reg%d", w.next)), w.m)
		commits, reveals = append(commits, c), append(reveals, r)
	}
	return commits, reveals
}

// whole takes a block all the way that a validator's app does.
func (m *machine) whole(b *testing.B, ops [][]byte) {
	for _, op := range ops {
		if r, err := m.app.CheckTx(ctx, &abci.RequestCheckTx{Tx: op}); err != nil || (r.Code != 0 && r.Code != chain.LaneFull) {
			b.Fatal(r, err)
		}
	}
	if got := m.propose(b, ops, 1<<30); len(got) != len(ops) {
		b.Fatalf("the proposal has %d of %d ops", len(got), len(ops))
	}
	if !m.accepts(b, ops) {
		b.Fatal("the proposal was refused")
	}
	m.must(b, ops...)
}

// kvstoreCPU is the CPU time that CometBFT's kvstore app takes for as many
// transactions of this size, over the same way.
func kvstoreCPU(b *testing.B, txs, size int) time.Duration {
	b.Helper()
	app := kvstore.NewPersistentApplication(b.TempDir())
	defer app.Close()
	var total time.Duration
	height := int64(0)
	for done := 0; done < txs; done += batch {
		block := make([][]byte, batch)
		for i := range block {
			tx := fmt.Appendf(nil, "k%015d=", done+i)
			block[i] = append(tx, bytes.Repeat([]byte{'v'}, max(1, size-len(tx)))...)
		}
		height++
		start := cpu()
		for _, tx := range block {
			if r, err := app.CheckTx(ctx, &abci.RequestCheckTx{Tx: tx}); err != nil || r.Code != 0 {
				b.Fatal(r, err)
			}
		}
		if _, err := app.PrepareProposal(ctx, &abci.RequestPrepareProposal{Txs: block, MaxTxBytes: 1 << 30, Height: height}); err != nil {
			b.Fatal(err)
		}
		if _, err := app.ProcessProposal(ctx, &abci.RequestProcessProposal{Txs: block, Height: height}); err != nil {
			b.Fatal(err)
		}
		if _, err := app.FinalizeBlock(ctx, &abci.RequestFinalizeBlock{Txs: block, Height: height}); err != nil {
			b.Fatal(err)
		}
		if _, err := app.Commit(ctx, &abci.RequestCommit{}); err != nil {
			b.Fatal(err)
		}
		total += cpu() - start
	}
	return total
}

// signed is a few hundred messages and their signatures, by as many keys.
type signed []struct {
	by       ed25519.PublicKey
	msg, sig []byte
}

func newSigned() signed {
	s := make(signed, 300)
	for i := range s {
		pub, priv, _ := ed25519.GenerateKey(nil)
		s[i].by, s[i].msg = pub, make([]byte, 300)
		s[i].sig = ed25519.Sign(priv, s[i].msg)
	}
	return s
}

// check is the CPU time of one signature check. It is taken beside each block:
// on a machine with other work, minutes apart are not to be compared.
func (s signed) check() time.Duration {
	start := cpu()
	for _, m := range s {
		if !ed25519.Verify(m.by, m.msg, m.sig) {
			panic("a good signature was refused")
		}
	}
	return (cpu() - start) / time.Duration(len(s))
}

// treeCPU is the CPU time of the state tree and its store alone, for as many
// ops with so many changed leaves each, in blocks of the same size.
func (w *world) treeCPU(b *testing.B, ops, each int) time.Duration {
	b.Helper()
	var total time.Duration
	height := w.m.store.State().Height
	for done := 0; done < ops; done += batch {
		var changes []statetree.Change
		for range batch {
			who := w.owners[w.next%len(w.owners)]
			w.next++
			e, _ := who.entry("somebody", w.m.time+uint64(w.next))
			value := e.Encode()
			for _, k := range []namesvc.Key{
				namesvc.AccountKey(who.id), namesvc.DevicesKey(who.id), namesvc.CommitKey(who.id), namesvc.HandleKey(namesvc.Skeleton(who.id[:])),
			}[:each] {
				changes = append(changes, statetree.Change{Key: statetree.Key(k), Value: value})
			}
		}
		slices.SortFunc(changes, func(x, y statetree.Change) int { return bytes.Compare(x.Key[:], y.Key[:]) })
		height++
		start := cpu()
		p, err := w.m.store.Prepare(height, changes)
		if err != nil {
			b.Fatal(err)
		}
		if err := p.Commit(store.Also{}); err != nil {
			b.Fatal(err)
		}
		total += cpu() - start
	}
	return total
}
