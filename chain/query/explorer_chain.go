package query

import (
	"encoding/hex"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/confab-chat/confab/lightclient/verify"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/key"
	"github.com/confab-chat/confab/namesvc/statetree"
	"github.com/confab-chat/confab/namesvc/wire"
)

// overviewRows is how much of each list the first page shows.
const overviewRows = 8

// overview is the first page: where the chain stands, and the newest of all.
type overview struct {
	Status                   Status
	Time                     moment
	Age                      time.Duration
	Stale                    bool
	Root, Hash               string
	Oldest                   uint64 // height whose state this validator still has
	Records                  uint64 // height from which this validator has the records of blocks
	Power                    uint64
	Peers                    int // -1 if unknown
	Proof                    proof
	Ops                      []opRow
	Checkpoints              []checkpointRow
	MoreOps, MoreCheckpoints string
}

func (x *explorer) overview(_ *http.Request, l links) (sheet, error) {
	status, err := x.status(nil)
	if err != nil {
		return sheet{}, err
	}
	st := status.(Status)
	o := overview{
		Status: st, Time: at(st.Time), Root: hex.EncodeToString(st.Root[:]), Hash: hex.EncodeToString(st.Hash[:]), Peers: -1,
		Proof: l.proof("the chain's parameters", x.Chain, "chain", "1"), MoreOps: l.To("/explorer/ops"), MoreCheckpoints: l.To("/explorer/checkpoints"),
	}
	o.Oldest, _, _ = x.Store.Heights()
	o.Records = x.App.From()
	o.Age, o.Stale = x.age()
	o.Age = o.Age.Round(time.Second)
	if x.Peers != nil {
		o.Peers = x.Peers()
	}
	if st.Provable > 0 {
		_, set, err := x.Heads.Head(st.Provable)
		if err != nil {
			return sheet{}, err
		}
		o.Power = set.TotalPower()
	}
	list, err := x.recent(l, place{Height: st.Height + 1}, overviewRows)
	if err != nil {
		return sheet{}, err
	}
	o.Ops = list.Rows
	if o.Checkpoints, err = x.checkpointRows(l, st.Checkpoint, overviewRows); err != nil {
		return sheet{}, err
	}
	return sheet{file: "overview", title: "Where the chain stands", body: o}, nil
}

// checkpointRow is a checkpoint with what seals it.
type checkpointRow struct {
	Number, Height uint64
	Time           moment
	Block          string // address of its page
	Digest         string
	Sealed         bool
	Seals, Signers int
	SealedAt       uint64 // height of the votes that carried the seals
	File           string // the checkpoint with its seals
	Proof          proof
}

// checkpointRows returns checkpoint n and those before it, at most limit. The
// newest may not be made yet, and those from before a state sync are not here.
func (x *explorer) checkpointRows(l links, n uint64, limit int) ([]checkpointRow, error) {
	var rows []checkpointRow
	for tries := 0; n > 0 && len(rows) < limit && tries <= limit; n, tries = n-1, tries+1 {
		c, ok, err := x.App.Checkpoint(n)
		if err != nil {
			return nil, err
		}
		if !ok {
			continue
		}
		digest := c.Digest(verify.ChainTag(x.Chain))
		name := strconv.FormatUint(n, 10)
		row := checkpointRow{
			Number: n, Height: c.Height, Time: at(c.Time), Digest: hex.EncodeToString(digest[:]),
			Block: l.To("/explorer/blocks/" + strconv.FormatUint(c.Height, 10)),
			File:  "/v1/checkpoints/" + name + "?format=json", Proof: l.proof("checkpoint "+name, "checkpoint-"+name, "checkpoint", name),
		}
		seals, ok, err := x.App.Seals(n)
		if err != nil {
			return nil, err
		}
		if ok {
			row.Sealed, row.SealedAt, row.Signers = true, seals.Height, len(seals.Signatures)
			for _, s := range seals.Signatures {
				if s != (verify.Signature{}) {
					row.Seals++
				}
			}
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// checkpointList is a page of checkpoints.
type checkpointList struct {
	Rows         []checkpointRow
	Newer, Older string
}

func (x *explorer) checkpoints(r *http.Request, l links) (sheet, error) {
	newest, err := x.newestCheckpoint()
	if err != nil {
		return sheet{}, err
	}
	from := newest
	if text := r.URL.Query().Get("before"); text != "" {
		before, err := number(text)
		if err != nil {
			return sheet{}, fmt.Errorf("before: %w", err)
		}
		from = min(max(before, 1)-1, newest)
	}
	var list checkpointList
	if list.Rows, err = x.checkpointRows(l, from, rowsPerPage); err != nil {
		return sheet{}, err
	}
	if n := len(list.Rows); n > 0 && list.Rows[n-1].Number > 1 {
		list.Older = l.To("/explorer/checkpoints", "before", strconv.FormatUint(list.Rows[n-1].Number, 10))
	}
	if from < newest {
		list.Newer = l.To("/explorer/checkpoints")
	}
	return sheet{file: "checkpoints", title: "Checkpoints", body: list}, nil
}

// newestCheckpoint returns the number of the newest checkpoint in the records.
func (x *explorer) newestCheckpoint() (uint64, error) {
	mark, _ := x.App.Last()
	p, ok := x.App.Params()
	if !ok {
		return 0, nil
	}
	return mark.Height / p.Checkpoint, nil
}

// validatorRow is a validator with its share of the power.
type validatorRow struct {
	Address  string
	Power    uint64
	Percent  string
	Signed   string // what it did about the newest block
	Operator string // address of its operator's page, if it has one
	Account  string
	Since    uint64 // height from which on it is in the set
	Fault    uint64 // height of a proven misbehaviour
}

type validatorList struct {
	Height, Total uint64
	Rows          []validatorRow
	Proof         proof
}

func (x *explorer) validators(_ *http.Request, l links) (sheet, error) {
	height := x.Heads.Newest()
	if height < 2 {
		return sheet{}, wire.Errorf(wire.Unavailable, "the chain has just begun; try again in a moment")
	}
	head, set, err := x.Heads.Head(height)
	if err != nil {
		return sheet{}, err
	}
	law, err := x.lawValidators(height)
	if err != nil {
		return sheet{}, err
	}
	list := validatorList{Height: height, Total: set.TotalPower(), Proof: l.head(height)}
	for i := range set.Len() {
		member, address := set.At(i), set.Address(i)
		row := validatorRow{
			Address: "0x" + hex.EncodeToString(address[:]), Power: member.Power, Signed: "was silent",
			Percent: fmt.Sprintf("%.1f %%", 100*float64(member.Power)/float64(list.Total)),
		}
		if i < len(head.Commit.Votes) {
			switch head.Commit.Votes[i].Kind {
			case verify.VoteBlock:
				row.Signed = "signed"
			case verify.VoteNil:
				row.Signed = "voted for no block"
			}
		}
		if v, ok := law.Find(key.Consensus(member.Key)); ok {
			row.Since, row.Fault = v.Since, v.Fault
			if v.Operator != (namesvc.AccountID{}) {
				row.Account, row.Operator = short(v.Operator[:]), l.To("/explorer/accounts/"+v.Operator.String())
			}
		}
		list.Rows = append(list.Rows, row)
	}
	return sheet{file: "validators", title: "Validators", body: list}, nil
}

// lawValidators returns the set that the law has under the head of a height.
func (x *explorer) lawValidators(height uint64) (namesvc.ValidatorSet, error) {
	r, err := x.Store.At(height - 1)
	if err != nil {
		return namesvc.ValidatorSet{}, unavailable(err)
	}
	defer r.Close()
	b, err := r.Get(statetree.Key(namesvc.ValidatorsKey()))
	if err != nil {
		return namesvc.ValidatorSet{}, unavailable(err)
	}
	return namesvc.DecodeValidatorSet(b)
}
