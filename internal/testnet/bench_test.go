package testnet_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/cometbft/cometbft/abci/example/kvstore"
	abci "github.com/cometbft/cometbft/abci/types"
	cmtcfg "github.com/cometbft/cometbft/config"
	"github.com/cometbft/cometbft/crypto/secp256k1eth"
	cmtlog "github.com/cometbft/cometbft/libs/log"
	"github.com/cometbft/cometbft/mempool"
	cmtnode "github.com/cometbft/cometbft/node"
	"github.com/cometbft/cometbft/p2p"
	"github.com/cometbft/cometbft/privval"
	"github.com/cometbft/cometbft/proxy"
	cmttypes "github.com/cometbft/cometbft/types"

	"github.com/confab-chat/confab/chain"
	"github.com/confab-chat/confab/internal/testnet"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/key"
	"github.com/confab-chat/confab/namesvc/ticket"
)

// BenchmarkLatency measures how long an update takes from its submission until
// it is proven to the one who sent it, on four validators that pause a second
// between blocks, at four updates a second.
func BenchmarkLatency(b *testing.B) {
	n := start(b, testnet.Spec{Params: benchParams(), Pause: time.Second})
	people := settle(b, n, 40)
	client, err := n.Client()
	if err != nil {
		b.Fatal(err)
	}
	var all []time.Duration
	for b.Loop() {
		var mu sync.Mutex
		var wg sync.WaitGroup
		tick := time.NewTicker(250 * time.Millisecond)
		for _, who := range people {
			<-tick.C
			op := who.update(b, n)
			wg.Go(func() {
				ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
				defer cancel()
				began := time.Now()
				if _, err := client.Submit(ctx, op, nil); err != nil {
					b.Error(err)
					return
				}
				mu.Lock()
				defer mu.Unlock()
				all = append(all, time.Since(began))
			})
		}
		tick.Stop()
		wg.Wait()
	}
	if len(all) == 0 {
		return
	}
	slices.Sort(all)
	b.ReportMetric(all[len(all)/2].Seconds(), "s-p50")
	b.ReportMetric(all[len(all)*95/100].Seconds(), "s-p95")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkThroughput measures updates a second through one and through four
// validators in this process, and CometBFT's kvstore app on one validator with
// the same settings and transactions of the same size, unsigned.
func BenchmarkThroughput(b *testing.B) {
	for _, validators := range []int{1, 4} {
		b.Run(fmt.Sprintf("validators=%d", validators), func(b *testing.B) {
			n := start(b, testnet.Spec{Params: benchParams(), Validators: validators, Pause: 200 * time.Millisecond})
			people := settle(b, n, 1000)
			total, size := 0, 0
			var spent time.Duration
			for b.Loop() {
				var ops [][]byte
				for range 10 {
					for _, who := range people {
						ops = append(ops, who.update(b, n))
					}
				}
				total, size = total+len(ops), len(ops[0])
				began := time.Now()
				submitAll(b, n, ops)
				spent += time.Since(began)
			}
			ours := float64(total) / spent.Seconds()
			b.ReportMetric(ours, "updates/s")
			if validators == 1 {
				base := kvstoreRate(b, size, 10_000)
				b.ReportMetric(base, "kvstore-tx/s")
				b.ReportMetric(ours/base, "ratio")
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}

func benchParams() namesvc.Params {
	p := namesvc.DevParams(testnet.NewChainID())
	p.WorkBits, p.WorkKiB, p.QuotaEvery, p.Daily = 0, 8, 0, 1<<30
	p.Lanes = namesvc.Lanes{Renewals: 1 << 20, Updates: 1 << 20, Commits: 1 << 20, Registrations: 1 << 20}
	return p
}

// owner is an account on the network whose ops are made by hand.
type owner struct {
	root   key.Root
	device key.Device
	id     namesvc.AccountID
	seq    uint64
	last   [32]byte
}

func (o *owner) sign(b *testing.B, n *testnet.Network, kind namesvc.OpKind, body any, by namesvc.Signer) []byte {
	mark, _ := n.Nodes[0].App.Last()
	op := namesvc.SignOp(namesvc.Op{
		Kind: kind, Chain: n.Chain, Account: o.id, Seq: o.seq + 1, Prev: o.last, Expires: mark.Height + 500,
	}, body, by)
	tx, fault := namesvc.Parse(op)
	if fault != nil {
		b.Fatal(fault)
	}
	o.seq, o.last = o.seq+1, tx.ID
	return op
}

func (o *owner) update(b *testing.B, n *testnet.Network) []byte {
	profile := o.last // anything that is new each time
	return o.sign(b, n, namesvc.OpRecords, namesvc.Records{Profile: profile[:]}, o.device)
}

// settle registers accounts by ordinary ops.
func settle(b *testing.B, n *testnet.Network, count int) []*owner {
	b.Helper()
	var people []*owner
	var commits, reveals [][]byte
	for range count {
		root, err := key.NewRoot(rand.Reader)
		if err != nil {
			b.Fatal(err)
		}
		device, err := key.NewDevice(rand.Reader)
		if err != nil {
			b.Fatal(err)
		}
		g, err := namesvc.NewGenesis(rand.Reader, namesvc.Person, [32]byte{}, root.Public())
		if err != nil {
			b.Fatal(err)
		}
		o := &owner{root: root, device: device, id: g.Account(), last: g.Account()}
		expires := uint64(time.Now().Add(24 * time.Hour).Unix())
		consent := device.SignConsent(namesvc.Consent(n.Chain, o.id, 1, device.Public(), namesvc.AllScopes, expires))
		reveal := o.sign(b, n, namesvc.OpRegister, namesvc.Registration{Genesis: g.Encode(), Devices: []namesvc.Grant{{
			Key: device.Public(), Scopes: namesvc.AllScopes, Expires: expires, Consent: consent[:],
		}}}, root)
		mark, _ := n.Nodes[0].App.Last()
		commits = append(commits, namesvc.EncodeCommit(namesvc.Commit{
			Chain: n.Chain, Expires: mark.Height + 100, Hash: namesvc.CommitHash(reveal), Payment: ticket.Work, Proof: ticket.Nonce(0),
		}))
		people, reveals = append(people, o), append(reveals, reveal)
	}
	submitAll(b, n, commits)
	submitAll(b, n, reveals)
	return people
}

// submitAll sends ops to all validators in turn, again while their lanes are
// full, and returns when the last op of each is in a block.
func submitAll(b *testing.B, n *testnet.Network, ops [][]byte) {
	b.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	submit := n.Nodes[0].Query.Submit
	var ids []namesvc.OpID
	for _, op := range ops {
		tx, _ := namesvc.Parse(op)
		ids = append(ids, tx.ID)
		for {
			_, news := n.Nodes[0].App.Last()
			code, detail, err := submit(ctx, op)
			if err != nil {
				b.Fatal(err)
			}
			if code == 0 {
				break
			}
			if code != chain.LaneFull {
				b.Fatal(namesvc.RejectCode(code), detail)
			}
			<-news
		}
	}
	for _, id := range ids {
		for {
			_, news := n.Nodes[0].App.Last()
			r, ok, err := n.Nodes[0].App.Receipt(id)
			if err != nil || (ok && r.Code != 0) {
				b.Fatal(r.Code, err)
			}
			if ok {
				break
			}
			select {
			case <-news:
			case <-ctx.Done():
				b.Fatal("an op is in no block")
			}
		}
	}
}

// kvstoreRate is how many transactions a second CometBFT's own example takes on
// one validator of the same kind.
func kvstoreRate(b *testing.B, size, count int) float64 {
	b.Helper()
	dir := b.TempDir()
	c := cmtcfg.TestConfig()
	c.SetRoot(dir)
	cmtcfg.EnsureRoot(dir)
	c.DBBackend, c.RPC.ListenAddress, c.TxIndex.Indexer = "goleveldb", "", "null"
	c.Consensus = cmtcfg.DefaultConsensusConfig()
	c.Consensus.SetWalFile(filepath.Join(dir, "wal"))
	c.Consensus.TimeoutCommit = 200 * time.Millisecond
	c.Mempool.Size, c.Mempool.CacheSize = 20000, 50000
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	c.P2P.ListenAddress = "tcp://" + l.Addr().String()
	l.Close()
	pv := privval.NewFilePV(secp256k1eth.GenPrivKey(), c.PrivValidatorKeyFile(), c.PrivValidatorStateFile())
	pv.Save()
	params := chain.ConsensusParams()
	params.ABCI.VoteExtensionsEnableHeight = 0
	params.Version.App = kvstore.AppVersion
	doc := &cmttypes.GenesisDoc{GenesisTime: time.Now(), ChainID: "kvstore", InitialHeight: 1, ConsensusParams: params,
		Validators: []cmttypes.GenesisValidator{{PubKey: pv.Key.PubKey, Power: 10}}}
	if err := doc.ValidateAndComplete(); err != nil {
		b.Fatal(err)
	}
	nk, err := p2p.LoadOrGenNodeKey(c.NodeKeyFile())
	if err != nil {
		b.Fatal(err)
	}
	app := kvstore.NewPersistentApplication(filepath.Join(dir, "data"))
	node, err := cmtnode.NewNode(c, pv, nk, proxy.NewConnSyncLocalClientCreator(app),
		func() (*cmttypes.GenesisDoc, error) { return doc, nil }, cmtcfg.DefaultDBProvider,
		cmtnode.DefaultMetricsProvider(c.Instrumentation), cmtlog.NewNopLogger())
	if err != nil {
		b.Fatal(err)
	}
	if err := node.Start(); err != nil {
		b.Fatal(err)
	}
	defer func() { node.Stop(); node.Wait(); app.Close() }()
	began := time.Now()
	for i := range count {
		tx := fmt.Appendf(nil, "k%015d=", i)
		tx = append(tx, make([]byte, max(1, size-len(tx)))...)
		for j := 17; j < len(tx); j++ {
			tx[j] = 'v'
		}
		done := make(chan *abci.ResponseCheckTx, 1)
		if err := node.Mempool().CheckTx(tx, func(r *abci.ResponseCheckTx) { done <- r }, mempool.TxInfo{}); err != nil {
			b.Fatal(err)
		}
		if r := <-done; r.Code != 0 {
			b.Fatal(r)
		}
	}
	deadline := time.Now().Add(time.Minute)
	for node.Mempool().Size() > 0 {
		if time.Now().After(deadline) {
			b.Fatal("the kvstore chain does not drain its mempool")
		}
		time.Sleep(10 * time.Millisecond)
	}
	return float64(count) / time.Since(began).Seconds()
}
