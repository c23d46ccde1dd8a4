package mls

import (
	"bytes"
	"fmt"
)

// PSKType says where a pre-shared key comes from (RFC 9420 §8.4).
type PSKType uint8

// The sources of pre-shared keys.
const (
	PSKExternal   PSKType = 1 // the application gave it a name
	PSKResumption PSKType = 2 // an epoch of some group
)

// PSKUsage says what a resumption key is for.
type PSKUsage uint8

// The uses of resumption keys.
const (
	UsageApplication PSKUsage = 1
	UsageReInit      PSKUsage = 2
	UsageBranch      PSKUsage = 3
)

// PSKID names a pre-shared key in a proposal or a Welcome.
type PSKID struct {
	Type    PSKType
	ID      []byte   // external
	Usage   PSKUsage // resumption
	GroupID []byte   // resumption
	Epoch   uint64   // resumption
	Nonce   []byte   // fresh for each use, of the hash's length
}

func (p *PSKID) encode(w *writer) {
	w.u8(uint8(p.Type))
	if p.Type == PSKExternal {
		w.vec(p.ID)
	} else {
		w.u8(uint8(p.Usage))
		w.vec(p.GroupID)
		w.u64(p.Epoch)
	}
	w.vec(p.Nonce)
}

func (r *reader) pskID() (p PSKID) {
	switch p.Type = PSKType(r.u8()); p.Type {
	case PSKExternal:
		p.ID = r.vec(maxPSKID)
	case PSKResumption:
		p.Usage = PSKUsage(r.u8())
		if p.Usage < UsageApplication || p.Usage > UsageBranch {
			r.fail(ErrMalformed, "pre-shared key usage %d", p.Usage)
		}
		p.GroupID = r.vec(MaxGroupID)
		p.Epoch = r.u64()
	default:
		r.fail(ErrMalformed, "pre-shared key type %d", p.Type)
	}
	p.Nonce = r.vec(maxPSKID)
	return p
}

// same reports whether both name one key, whatever the nonce.
func (p PSKID) same(q PSKID) bool {
	return p.Type == q.Type && bytes.Equal(p.ID, q.ID) &&
		p.Usage == q.Usage && bytes.Equal(p.GroupID, q.GroupID) && p.Epoch == q.Epoch
}

// PSKStore gives pre-shared keys by name. The returned bytes are not kept.
type PSKStore interface {
	// ExternalPSK returns the key with an application-chosen id.
	ExternalPSK(id []byte) (psk []byte, ok bool)
	// ResumptionPSK returns the resumption key of an epoch of another group, as
	// Group.ResumptionPSK gave it there.
	ResumptionPSK(groupID []byte, epoch uint64) (psk []byte, ok bool)
}

// pskSecret combines pre-shared keys in order (§8.4). find may not be nil if
// ids has entries.
func pskSecret(ids []PSKID, find func(PSKID) ([]byte, bool)) (secret, error) {
	out := make(secret, hashSize)
	for i, id := range ids {
		psk, ok := find(id)
		if !ok {
			return nil, fmt.Errorf("find pre-shared key %d of %d: %w", i+1, len(ids), ErrUnknownPSK)
		}
		var w writer
		id.encode(&w)
		w.u16(uint16(i))
		w.u16(uint16(len(ids)))
		input := expand(extract(make([]byte, hashSize), psk), "derived psk", w.b, hashSize)
		out = extract(input, out)
	}
	return out, nil
}
