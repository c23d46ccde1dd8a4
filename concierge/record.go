package concierge

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/confab-chat/confab/namesvc/key"
	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/stream"
)

// Queue is what an owner's devices are told of one of his queues.
type Queue struct {
	_       struct{} `cbor:",toarray"`
	ID      stream.ID
	Entries uint64
	Bytes   uint64
	TTL     uint64 // seconds
}

// record is what is kept of an owner: one stream entry, replaced as a whole by
// compare-and-append, so that several processes may change it.
type record struct {
	_         struct{} `cbor:",toarray"`
	Version   uint64   // 1
	DeviceSeq uint64   // of the devices below
	Devices   [][32]byte
	Queues    []Queue
}

// maxTries is how often a change is tried anew because another came between.
const maxTries = 16

var errBusy error = wire.Errorf(wire.Unavailable, "too many changes at once: try again")

// newest returns a stream's newest body, nil if it never had one, and its head.
func newest(ctx context.Context, store stream.Log, id stream.ID) ([]byte, stream.Head, error) {
	for range maxTries {
		state, err := store.State(ctx, id)
		if err != nil {
			return nil, stream.Head{}, err
		}
		if state.Head.Seq == 0 {
			return nil, state.Head, nil
		}
		page, err := store.Range(ctx, id, state.Head.Seq-1, stream.MaxPage)
		if err != nil {
			return nil, stream.Head{}, err
		}
		// Another append may have come between the two reads, and trimmed.
		if len(page.Entries) == 1 && page.Last() == state.Head.Seq && page.Head == state.Head.Seq {
			return page.Entries[0].Body, state.Head, nil
		}
	}
	return nil, stream.Head{}, errBusy
}

// replace appends a stream's newest body if its head is still the one given, and
// lets go of the former. A *stream.HeadError says that it is another.
func replace(ctx context.Context, store stream.Store, id stream.ID, head stream.Head, m stream.MessageID, body []byte) (again bool, err error) {
	r, err := stream.Append(ctx, store, id, stream.Message{ID: m, Body: body, Expect: &head})
	if err != nil || r.Again {
		return r.Again, err
	}
	// What a crash leaves here, the next change trims.
	if err := store.Trim(ctx, id, head.Seq); err != nil && !errors.Is(err, stream.ErrNotFound) {
		return false, err
	}
	return false, nil
}

func newMessageID() (m stream.MessageID) {
	rand.Read(m[:])
	return m
}

// readRecord returns an owner's record, or stream.ErrNotFound.
func readRecord(ctx context.Context, store stream.Log, o Owner) (record, stream.Head, error) {
	body, head, err := newest(ctx, store, o.kept(keptRecord, nil))
	if err != nil {
		return record{}, head, err
	}
	r := record{Version: 1}
	if body != nil {
		if err := wire.Decode(body, &r, stream.MaxBody); err != nil {
			return r, head, fmt.Errorf("read the record of an owner: %w", err)
		}
	}
	if r.Version != 1 || len(r.Queues) > MaxQueues {
		return r, head, fmt.Errorf("read the record of an owner: version %d with %d queues is none of ours", r.Version, len(r.Queues))
	}
	return r, head, nil
}

// changeRecord applies change to an owner's record until no other change comes
// between, and returns what it has become.
func changeRecord(ctx context.Context, store stream.Store, o Owner, change func(*record) error) (record, error) {
	for range maxTries {
		r, head, err := readRecord(ctx, store, o)
		if err != nil {
			return r, err
		}
		before := wire.Encode(r)
		if err := change(&r); err != nil {
			return r, err
		}
		after := wire.Encode(r)
		if bytes.Equal(before, after) {
			return r, nil
		}
		var moved *stream.HeadError
		_, err = replace(ctx, store, o.kept(keptRecord, nil), head, newMessageID(), after)
		if !errors.As(err, &moved) {
			return r, err
		}
	}
	return record{}, errBusy
}

func (q Queue) settings(devices [][32]byte) stream.Settings {
	return stream.Settings{
		MaxEntries: q.Entries, MaxBytes: q.Bytes, TTL: time.Duration(q.TTL) * time.Second, Readers: readersOf(devices),
	}
}

func readersOf(devices [][32]byte) []stream.Reader {
	out := make([]stream.Reader, len(devices))
	for i, d := range devices {
		out[i] = d
	}
	return out
}

func knockSettings(devices [][32]byte) stream.Settings {
	return stream.Settings{MaxEntries: maxKnocks, MaxBytes: maxKnocks * MaxKnock, TTL: keepKnock, Readers: readersOf(devices)}
}

// settle makes an owner's streams wait for the devices that he has now, and
// makes what he has none of yet. It writes only if something is new. What a
// crash interrupts is done by the next settle, since the record is written last.
// shelf is where his KeyPackages are.
func settle(ctx context.Context, store stream.Store, o, shelf Owner, who standing) (record, error) {
	r, _, err := readRecord(ctx, store, o)
	if errors.Is(err, stream.ErrNotFound) && who.listed {
		err = store.Configure(ctx, o.kept(keptRecord, nil), stream.Settings{})
		r = record{Version: 1}
	}
	if err != nil {
		return r, err
	}
	devices := make([][32]byte, len(who.readers))
	for i, d := range who.readers {
		devices[i] = d
	}
	if r.DeviceSeq > who.deviceSeq || r.DeviceSeq == who.deviceSeq && slices.Equal(r.Devices, devices) {
		return r, nil
	}
	if err := store.Configure(ctx, o.Knocks(), knockSettings(devices)); err != nil {
		return r, err
	}
	for _, q := range r.Queues {
		if err := store.Configure(ctx, q.ID, q.settings(devices)); err != nil {
			return r, err
		}
	}
	for _, d := range r.Devices {
		if !slices.Contains(devices, d) {
			if err := forgetPackages(ctx, store, shelf, key.Public(d)); err != nil {
				return r, err
			}
		}
	}
	after, err := changeRecord(ctx, store, o, func(r *record) error {
		if r.DeviceSeq <= who.deviceSeq {
			r.DeviceSeq, r.Devices = who.deviceSeq, devices
		}
		return nil
	})
	for _, q := range after.Queues {
		if err == nil && !slices.Contains(r.Queues, q) { // made meanwhile, for the devices of before
			err = store.Configure(ctx, q.ID, q.settings(after.Devices))
		}
	}
	return after, err
}

// createQueue makes the queue that grows from a seed, or changes its settings.
func createQueue(ctx context.Context, store stream.Store, o Owner, seed Seed, want Queue, limits Limits) (Queue, record, error) {
	q := Queue{ID: o.Address(seed).Queue()}
	q.Entries = min(or(want.Entries, limits.QueueEntries), limits.QueueEntries)
	q.Bytes = min(or(want.Bytes, limits.QueueBytes), limits.QueueBytes)
	longest := uint64(limits.QueueTTL / time.Second)
	q.TTL = min(or(want.TTL, longest), longest)
	r, err := changeRecord(ctx, store, o, func(r *record) error {
		i := slices.IndexFunc(r.Queues, func(have Queue) bool { return have.ID == q.ID })
		if i < 0 {
			if i = len(r.Queues); i >= MaxQueues {
				return wire.Errorf(wire.Exhausted, "account has %d queues already: delete some", i)
			}
			r.Queues = append(r.Queues, q)
		}
		r.Queues[i] = q
		var promised uint64
		for _, each := range r.Queues {
			promised += each.Bytes
		}
		if promised > limits.AccountBytes {
			return wire.Errorf(wire.Exhausted, "account's queues would hold %d bytes, and %d are allowed: ask for a smaller one, or delete some", promised, limits.AccountBytes)
		}
		return nil
	})
	if err != nil {
		return q, r, err
	}
	for {
		if err := store.Configure(ctx, q.ID, q.settings(r.Devices)); err != nil {
			return q, r, err
		}
		now, _, err := readRecord(ctx, store, o)
		if err != nil || now.DeviceSeq == r.DeviceSeq {
			return q, r, err
		}
		r = now // the devices changed meanwhile
	}
}

// deleteQueue lets go of a queue and all that waits in it.
func deleteQueue(ctx context.Context, store stream.Store, o Owner, id stream.ID) (record, error) {
	mine := func(q Queue) bool { return q.ID == id }
	r, _, err := readRecord(ctx, store, o)
	if err != nil || !slices.ContainsFunc(r.Queues, mine) {
		return r, err
	}
	if err := store.Delete(ctx, id); err != nil {
		return r, err
	}
	return changeRecord(ctx, store, o, func(r *record) error {
		r.Queues = slices.DeleteFunc(r.Queues, mine)
		return nil
	})
}
