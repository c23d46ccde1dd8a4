package namesvc

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"

	"github.com/confab-chat/confab/namesvc/key"
	"github.com/confab-chat/confab/namesvc/wire"
)

// Devices is the value of an account's devices leaf. The entry commits to it by
// hash, so a lookup that only wants the concierge does not carry it.
type Devices struct {
	_       struct{} `cbor:",toarray"`
	Version uint8    // 1
	Account AccountID
	Seq     uint64     // the entry's DeviceSeq
	List    []Device   // in the order they joined
	Removed [][16]byte // marks of keys that left and may not return, newest last
}

// Device is a device key with what it may do and until when.
type Device struct {
	_       struct{} `cbor:",toarray"`
	Key     key.Public
	Scopes  Scopes
	Added   uint64 // seconds since 1970
	Expires uint64 // seconds since 1970; the key is worth nothing from here on
}

// Scopes is what a device key may sign, a set of bits. No scope reaches root
// keys, the release of a handle or other devices.
type Scopes uint32

// The scopes. The bits are frozen.
const (
	ScopeMessage   Scopes = 1 << iota // speak for the account in conversations
	ScopeRecords                      // profile, avatar, other names, endpoints
	ScopeConcierge                    // choose concierges
	ScopeRenew                        // renew the lease, and the device's own expiry

	// AllScopes is what a person's own device usually has.
	AllScopes = ScopeMessage | ScopeRecords | ScopeConcierge | ScopeRenew
)

// scopeNames is indexed by bit.
var scopeNames = [...]string{"message", "records", "concierge", "renew"}

// String returns the scopes' names joined by commas.
func (s Scopes) String() string {
	var names []string
	for bit, name := range scopeNames {
		if s&(1<<bit) != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, ",")
}

// ParseScopes reads what String writes.
func ParseScopes(text string) (Scopes, error) {
	var s Scopes
next:
	for name := range strings.SplitSeq(text, ",") {
		for bit, known := range scopeNames {
			if name == known {
				s |= 1 << bit
				continue next
			}
		}
		return 0, fmt.Errorf("scope %q is unknown: use %s", name, strings.Join(scopeNames[:], ", "))
	}
	return s, nil
}

// Bounds of a device list.
const (
	// MaxDevices: phone, tablet, laptop, desk, watch, a bot or two, and room.
	MaxDevices = 16
	// maxRemoved marks are remembered; the oldest is forgotten first. A key
	// that comes back must sign its consent anew, so forgetting one after 64
	// removals opens no door by itself.
	maxRemoved = 64
	// MaxDevicesLeaf bounds the encoding: 16 devices of under 60 bytes and 64
	// marks of 17 come to about 2,100.
	MaxDevicesLeaf = 4096
)

// Encode returns the leaf value.
func (d Devices) Encode() []byte { return wire.Encode(d) }

// Root returns the hash by which an entry commits to this list.
func (d Devices) Root() [32]byte { return sha256.Sum256(d.Encode()) }

// DecodeDevices parses a devices leaf.
func DecodeDevices(b []byte) (Devices, error) {
	var d Devices
	if err := wire.Decode(b, &d, MaxDevicesLeaf); err != nil {
		return Devices{}, fmt.Errorf("devices: %w", err)
	}
	if d.Version != 1 || len(d.List) > MaxDevices || len(d.Removed) > maxRemoved {
		return Devices{}, fmt.Errorf("devices: the leaf is malformed")
	}
	return d, nil
}

// Find returns the device with this key.
func (d Devices) Find(k key.Public) (Device, bool) {
	for _, dev := range d.List {
		if dev.Key == k {
			return dev, true
		}
	}
	return Device{}, false
}

// mark is what remains of a removed key.
func mark(k key.Public) [16]byte {
	h := sha256.Sum256(k[:])
	return [16]byte(h[:16])
}

func (d Devices) removed(k key.Public) bool { return slices.Contains(d.Removed, mark(k)) }

// Consent returns what a new device signs (wire.TagDevice) when it joins: an
// account cannot list a key whose holder did not agree. seq is the DeviceSeq
// that the list will have with it.
func Consent(chain string, account AccountID, seq uint64, k key.Public, scopes Scopes, expires uint64) []byte {
	return wire.Encode(struct {
		_       struct{} `cbor:",toarray"`
		Chain   string
		Account AccountID
		Seq     uint64
		Key     key.Public
		Scopes  Scopes
		Expires uint64
	}{Chain: chain, Account: account, Seq: seq, Key: k, Scopes: scopes, Expires: expires})
}
