package main

import (
	"encoding/hex"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/confab-chat/confab/internal/command"
	"github.com/confab-chat/confab/lightclient/bundle"
	"github.com/confab-chat/confab/namesvc"
)

// chainView is what a proof about the chain itself proves, and not about a
// handle: an explorer offers one beside each block, checkpoint and validator.
type chainView struct {
	About      string          `json:"about"`
	Block      string          `json:"block"` // of the head, as a pin
	Validators int             `json:"validators"`
	Checkpoint *checkpointView `json:"checkpoint,omitempty"`
	proofView
}

type checkpointView struct {
	Number uint64    `json:"number"`
	Height uint64    `json:"height"`
	Time   time.Time `json:"time"`
	Digest string    `json:"digest"`
}

// viewChain describes such a proof, if it is one.
func viewChain(about string, v *bundle.Verified) (chainView, bool, error) {
	number, ofCheckpoint := strings.CutPrefix(about, "checkpoint ")
	if !ofCheckpoint && about != "head" && about != "chain" && about != "commit" {
		return chainView{}, false, nil
	}
	out := chainView{About: about, Block: v.Trust.Pin().String(), Validators: v.Trust.Validators.Len(), proofView: viewVerified(v)}
	if !ofCheckpoint {
		return out, true, nil
	}
	n, err := strconv.ParseUint(number, 10, 64)
	if err != nil {
		return chainView{}, false, nil
	}
	b, err := v.Leaf(namesvc.LeafKey(namesvc.LeafCheckpoint, namesvc.CheckpointID(n)))
	if err != nil || b == nil {
		return out, true, err
	}
	c, err := namesvc.DecodeCheckpoint(b)
	if err != nil {
		return out, true, err
	}
	out.Checkpoint = &checkpointView{Number: c.Number, Height: c.Height, Time: unix(c.Time), Digest: hex.EncodeToString(c.Digest[:])}
	return out, true, nil
}

func (v chainView) write(w io.Writer) {
	command.Row(w, "about", v.About)
	command.Row(w, "block", v.Block)
	command.Row(w, "validators", fmt.Sprint(v.Validators))
	switch c := v.Checkpoint; {
	case c != nil:
		command.Row(w, "height", fmt.Sprint(c.Height))
		command.Row(w, "time", c.Time.Format(time.RFC3339))
		command.Row(w, "digest", c.Digest)
	case strings.HasPrefix(v.About, "checkpoint "):
		command.Row(w, "checkpoint", "not recorded at this height")
	}
	v.proofView.write(w)
}
