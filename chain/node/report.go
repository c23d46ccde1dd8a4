package node

import (
	"io/fs"
	"path/filepath"
	"time"

	"github.com/confab-chat/confab/lightclient/verify"
)

// Report is how a validator that runs is doing.
type Report struct {
	Chain      string `json:"chain"`
	Height     uint64 `json:"height"`
	AgeSeconds int64  `json:"age_seconds"` // of the newest block, by this machine's clock
	CatchingUp bool   `json:"catching_up"` // it has not the newest block yet, and does not vote
	Peers      int    `json:"peers"`
	Waiting    int    `json:"waiting_ops"` // in the mempool

	Power      uint64 `json:"power"`       // of this validator, 0 if it is none
	TotalPower uint64 `json:"total_power"` // of all
	Validators int    `json:"validators"`
	Signed     bool   `json:"signed"` // its vote is in the newest commit

	Checkpoint uint64 `json:"checkpoint"` // number of the newest
	Sealed     uint64 `json:"sealed"`     // number of the newest whose seals are here

	HistoryFrom uint64   `json:"history_from"` // the first block whose ops and receipts are here
	BlocksFrom  uint64   `json:"blocks_from"`  // the first header that is here, 0 for none
	Snapshots   []uint64 `json:"snapshots"`    // heights that others can join by
	DiskBytes   int64    `json:"disk_bytes"`   // of the data folder
}

// Report returns how the validator is doing.
func (n *Node) Report() Report {
	last, _ := n.App.Last()
	r := Report{
		Chain: n.Query.Chain, Height: last.Height, Peers: n.comet.Switch().Peers().Size(), Waiting: n.comet.Mempool().Size(),
		CatchingUp: n.comet.ConsensusReactor().WaitSync(), HistoryFrom: n.App.From(),
		BlocksFrom: uint64(max(0, n.comet.BlockStore().Base())), Snapshots: n.App.Snapshots(),
		DiskBytes: size(filepath.Join(n.home, "data")), Sealed: n.App.Sealed(),
	}
	if last.Height > 0 {
		r.AgeSeconds = max(0, time.Now().Unix()-int64(last.Time))
	}
	if p, ok := n.App.Params(); ok {
		r.Checkpoint = last.Height / p.Checkpoint
	}
	n.reportPower(&r)
	return r
}

// reportPower adds what the newest commit shows of this validator.
func (n *Node) reportPower(r *Report) {
	head, set, err := n.Query.Heads.Head(n.Query.Heads.Newest())
	if err != nil {
		return
	}
	r.Validators, r.TotalPower = set.Len(), set.TotalPower()
	for i := range set.Len() {
		if set.At(i).Key == n.key {
			r.Power = set.At(i).Power
			r.Signed = head.Commit.Votes[i].Kind == verify.VoteBlock
		}
	}
}

// size returns the bytes of all files below a folder.
func size(dir string) (total int64) {
	filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return nil // files come and go
		}
		if info, err := e.Info(); err == nil && info.Mode().IsRegular() {
			total += info.Size()
		}
		return nil
	})
	return total
}
