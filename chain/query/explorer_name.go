package query

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/confab-chat/confab/chain/store"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/statetree"
	"github.com/confab-chat/confab/namesvc/wire"
)

// snapshot is the state that proofs are made of now: the one under the newest
// head.
type snapshot struct {
	r      *store.Reader
	height uint64 // of the head
	time   uint64 // of the head, in seconds
}

func (x *explorer) snapshot() (snapshot, error) {
	height := x.Heads.Newest()
	if height < 2 {
		return snapshot{}, wire.Errorf(wire.Unavailable, "the chain has just begun; try again in a moment")
	}
	head, _, err := x.Heads.Head(height)
	if err != nil {
		return snapshot{}, err
	}
	r, err := x.Store.At(height - 1)
	if err != nil {
		return snapshot{}, unavailable(err)
	}
	return snapshot{r: r, height: height, time: uint64(head.Header.Time.Seconds)}, nil
}

// leafAt returns a leaf of a snapshot, nil if it is absent.
func leafAt[T any](s snapshot, k namesvc.Key, decode func([]byte) (T, error)) (*T, error) {
	b, err := s.r.Get(statetree.Key(k))
	if err != nil {
		return nil, unavailable(err)
	}
	if b == nil {
		return nil, nil
	}
	v, err := decode(b)
	return &v, err
}

// nameView is what a handle means, or why it means nothing.
type nameView struct {
	Asked    string // as it was typed, if it was
	Handle   string
	Status   string // of the handle
	Lease    uint32 // generation of the lease
	Fault    string // what is wrong with the handle or the question
	Owner    string // the spelling that is registered, if another was asked for
	OwnerURL string
	Height   uint64
	Time     moment
	Proof    proof // that it is so, or that there is no such handle
	Entry    *entryView
}

func (x *explorer) name(r *http.Request, l links) (sheet, error) {
	v := nameView{Asked: r.URL.Query().Get("handle")}
	p := sheet{file: "name", title: "Look up a name"}
	if v.Asked == "" {
		p.body = v
		return p, nil
	}
	h, err := namesvc.ParseHandle(v.Asked)
	if err != nil {
		// What was typed comes back cut: it may be anything, at any length.
		v.Asked, v.Fault, p.status = fmt.Sprintf("%.*s", 2*namesvc.MaxHandle, v.Asked), err.Error(), http.StatusBadRequest
		p.body = v
		return p, nil
	}
	s, err := x.snapshot()
	if err != nil {
		return sheet{}, err
	}
	defer s.r.Close()
	v.Handle, v.Height, v.Time = h.String(), s.height, at(s.time)
	v.Proof = l.proof(h.String(), string(h), "handle", string(h), "devices", "1", "serving", "1")
	p.title = h.String()
	m, err := meaning(s, h)
	var missing *namesvc.NotFoundError
	var alike *namesvc.ConfusableError
	switch {
	case errors.As(err, &missing), errors.As(err, &alike):
		v.Fault, p.status = err.Error(), http.StatusNotFound
		if alike != nil {
			v.Owner, v.OwnerURL = alike.Owner.String(), l.To("/explorer/names", "handle", string(alike.Owner))
		}
		p.body = v
		return p, nil
	case err != nil:
		return sheet{}, err
	}
	v.Status, v.Lease = m.Status.String(), m.Generation
	v.Entry, err = x.entry(s, l, m.Entry)
	p.body = v
	return p, err
}

// meaning says what a handle means in a snapshot.
func meaning(s snapshot, h namesvc.Handle) (namesvc.Meaning, error) {
	leaf, err := leafAt(s, namesvc.HandleKey(h.Skeleton()), namesvc.DecodeHandleLeaf)
	if err != nil {
		return namesvc.Meaning{}, err
	}
	var owner *namesvc.Entry
	if leaf != nil {
		if owner, err = leafAt(s, namesvc.AccountKey(leaf.Account), namesvc.DecodeEntry); err != nil {
			return namesvc.Meaning{}, err
		}
	}
	return namesvc.Interpret(h, leaf, owner, s.time)
}

// entryView is an account's entry.
type entryView struct {
	Account, Kind      string
	Generation         uint32
	Seq                uint64
	LastOp             string
	Handles            []link
	Registered, Active moment
	Expires, Lapses    moment
	Roots              int
	NextRoot, Guards   bool
	Devices, Current   int // listed, and of those not expired
	DeviceSeq          uint64
	Concierges         []conciergeRow
	AlsoKnownAs        []string
	Profile, Avatar    string
	Service            *serviceView
	Operates           string // key of the validator that the account runs or offers to run
	Votes              int
	Pending            *pendingView
	Proof              proof
	Page               string
}

// link is a text with an address.
type link struct{ Text, URL string }

// conciergeRow is a service that buffers the account's messages.
type conciergeRow struct {
	Name     link
	Priority uint8
	Gone     bool // it is not the service that was chosen any more
	Proof    proof
}

type serviceView struct {
	Roles, Key  string
	URLs, Peers []string
	Consent     bool
}

type pendingView struct {
	Kind, Handle, Op string
	Effective        moment
}

// entry describes an entry as of the snapshot's time.
func (x *explorer) entry(s snapshot, l links, e namesvc.Entry) (*entryView, error) {
	v := &entryView{
		Account: e.Account.String(), Kind: e.Kind.String(), Generation: e.Generation, Seq: e.Seq,
		LastOp: hex.EncodeToString(e.LastOp[:]), Registered: at(e.Registered), Active: at(e.LastActive),
		Expires: at(e.Expires), Lapses: at(e.Lapses), Roots: len(e.Roots), NextRoot: len(e.NextRoot) > 0,
		Guards: len(e.Guardians) > 0, DeviceSeq: e.DeviceSeq, AlsoKnownAs: e.Records.AlsoKnownAs,
		Profile: hex.EncodeToString(e.Records.Profile), Avatar: hex.EncodeToString(e.Records.Avatar),
		Proof: l.accountProof(e.Account), Page: l.To("/explorer/accounts/" + e.Account.String()),
	}
	for _, lease := range e.Handles {
		v.Handles = append(v.Handles, link{lease.Handle.String(), l.To("/explorer/names", "handle", string(lease.Handle))})
	}
	if p := e.Pending; p != nil {
		v.Pending = &pendingView{Kind: p.Kind.String(), Handle: p.Handle.String(), Op: short(p.Op[:]), Effective: at(p.Effective)}
	}
	if r := e.Records.Service; r != nil {
		v.Service = &serviceView{Roles: r.Roles.String(), Key: r.Key.String(), URLs: r.URLs, Peers: r.Peers, Consent: r.Consent}
	}
	devices, err := leafAt(s, namesvc.DevicesKey(e.Account), namesvc.DecodeDevices)
	if err != nil {
		return nil, err
	}
	if devices != nil {
		v.Devices = len(devices.List)
		for _, d := range devices.List {
			if d.Expires > s.time {
				v.Current++
			}
		}
	}
	operator, err := leafAt(s, namesvc.OperatorKey(e.Account), namesvc.DecodeOperator)
	if err != nil {
		return nil, err
	}
	if operator != nil {
		v.Operates, v.Votes = hex.EncodeToString(operator.Key), len(operator.Votes)
	}
	v.Concierges, err = conciergeRows(s, l, e.Records.Concierges)
	return v, err
}

// conciergeRows looks up what people know an account's concierges by.
func conciergeRows(s snapshot, l links, list []namesvc.Concierge) ([]conciergeRow, error) {
	var rows []conciergeRow
	for _, c := range list {
		row := conciergeRow{
			Name: link{"account " + short(c.Account[:]), l.To("/explorer/accounts/" + c.Account.String())}, Priority: c.Priority, Gone: true,
			Proof: l.accountProof(c.Account),
		}
		service, err := leafAt(s, namesvc.AccountKey(c.Account), namesvc.DecodeEntry)
		if err != nil {
			return nil, err
		}
		if service != nil {
			now := service.At(s.time)
			if h := now.Primary(); h != "" {
				row.Name.Text = h.String()
			}
			r := now.Records.Service
			row.Gone = now.Generation != c.Generation || r == nil || r.Roles&namesvc.RoleConcierge == 0
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// accountView is an account with its newest ops.
type accountView struct {
	ID     string
	Entry  *entryView
	Height uint64
	Time   moment
	Ops    []opRow
	Older  string
	Newer  string
}

func (x *explorer) account(r *http.Request, l links) (sheet, error) {
	id, err := namesvc.ParseAccountID(r.PathValue("id"))
	if err != nil {
		return sheet{}, wire.Errorf(wire.Invalid, "%w", err)
	}
	before, err := number(r.URL.Query().Get("before"))
	if err != nil {
		return sheet{}, fmt.Errorf("before: %w", err)
	}
	s, err := x.snapshot()
	if err != nil {
		return sheet{}, err
	}
	defer s.r.Close()
	e, err := leafAt(s, namesvc.AccountKey(id), namesvc.DecodeEntry)
	if err != nil {
		return sheet{}, err
	}
	if e == nil {
		return sheet{}, wire.Errorf(wire.NotFound, "account %v is not on the chain", id)
	}
	v := accountView{ID: id.String(), Height: s.height, Time: at(s.time)}
	if v.Entry, err = x.entry(s, l, e.At(s.time)); err != nil {
		return sheet{}, err
	}
	path := "/explorer/accounts/" + v.ID
	top := e.Seq
	if before > 0 && before <= e.Seq {
		top, v.Newer = before-1, l.To(path)
	}
	bottom := top - min(top, rowsPerPage) // ops with higher numbers, up to top
	list, err := x.App.History(id, bottom, int(top-bottom))
	if err != nil {
		return sheet{}, err
	}
	for i := len(list) - 1; i >= 0; i-- {
		if o := list[i]; o.Seq <= top {
			v.Ops = append(v.Ops, l.opRow(o.Op, o.Height, o.Time, namesvc.Accepted))
		}
	}
	if bottom > 0 {
		v.Older = l.To(path, "before", strconv.FormatUint(bottom+1, 10))
	}
	return sheet{file: "account", title: "Account " + short(id[:]), body: v}, nil
}
