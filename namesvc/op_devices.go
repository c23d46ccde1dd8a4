package namesvc

import (
	"slices"

	"github.com/confab-chat/confab/namesvc/key"
	"github.com/confab-chat/confab/namesvc/wire"
)

// DeviceList is the body of a devices op: all devices that the account is to
// have. Whatever is missing from it is removed for good.
type DeviceList struct {
	_       struct{} `cbor:",toarray"`
	Devices []Grant
}

// Grant is one device in a DeviceList.
type Grant struct {
	_       struct{} `cbor:",toarray"`
	Key     key.Public
	Scopes  Scopes
	Expires uint64 // seconds since 1970
	Consent []byte // the device's signature over Consent if it is new, else empty
}

func (l *law) setDevices(e *Entry, by authority, grants []Grant) error {
	old, err := l.devices(e)
	if err != nil {
		return err
	}
	if len(grants) > MaxDevices {
		return reject(BadDevices, "%d devices, at most %d are allowed", len(grants), MaxDevices)
	}
	fresh := Devices{Version: 1, Account: e.Account, Seq: e.DeviceSeq + 1, Removed: old.Removed}
	for i, g := range grants {
		if slices.ContainsFunc(grants[:i], func(o Grant) bool { return o.Key == g.Key }) {
			return reject(BadDevices, "device %d is listed twice", i+1)
		}
		d, err := l.grant(e, old, fresh.Seq, g)
		if err != nil {
			return err
		}
		fresh.List = append(fresh.List, d)
	}
	if slices.Equal(old.List, fresh.List) {
		return reject(BadDevices, "nothing changes")
	}
	if !by.root && !ownChange(old.List, fresh.List, by.device) {
		return reject(NotAllowed, "a device may only remove itself, or extend its own expiry with the scope %v", ScopeRenew)
	}
	for _, d := range old.List {
		if _, kept := fresh.Find(d.Key); !kept {
			fresh.Removed = append(fresh.Removed, mark(d.Key))
		}
	}
	if n := len(fresh.Removed); n > maxRemoved {
		fresh.Removed = fresh.Removed[n-maxRemoved:]
	}
	e.DeviceSeq = fresh.Seq
	e.DevicesRoot = fresh.Root()
	l.view.Set(DevicesKey(e.Account), fresh.Encode())
	return nil
}

// grant checks one device of the list to be.
func (l *law) grant(e *Entry, old Devices, seq uint64, g Grant) (Device, error) {
	now := l.block.Time
	d, known := old.Find(g.Key)
	if known && len(g.Consent) == 0 && d.Scopes == g.Scopes && d.Expires == g.Expires {
		return d, nil
	}
	switch {
	case g.Scopes == 0 || g.Scopes&^AllScopes != 0:
		return Device{}, reject(BadDevices, "a device has at least one scope, and none but the known ones")
	case g.Expires <= now || g.Expires > now+l.params.MaxDevice:
		return Device{}, reject(BadDevices, "a device expires in the future, at most %d seconds ahead", l.params.MaxDevice)
	case known && len(g.Consent) != 0:
		return Device{}, reject(BadConsent, "the device is listed already and needs none")
	case known:
		return Device{Key: g.Key, Scopes: g.Scopes, Added: d.Added, Expires: g.Expires}, nil
	case slices.Contains(e.Roots, g.Key) || announced(e.NextRoot, g.Key):
		return Device{}, reject(BadDevices, "a root key cannot be a device key")
	case old.removed(g.Key):
		return Device{}, reject(DeviceRemoved, "")
	case len(g.Consent) != key.SignatureSize:
		return Device{}, reject(BadConsent, "")
	}
	msg := Consent(l.params.Chain, e.Account, seq, g.Key, g.Scopes, g.Expires)
	if key.Verify(g.Key, wire.TagDevice, msg, key.Signature(g.Consent)) != nil {
		return Device{}, reject(BadConsent, "")
	}
	return Device{Key: g.Key, Scopes: g.Scopes, Added: now, Expires: g.Expires}, nil
}

// ownChange reports whether fresh differs from old only in what d may change
// about itself.
func ownChange(old, fresh []Device, d Device) bool {
	var rest []Device
	for _, o := range old {
		if o.Key != d.Key {
			rest = append(rest, o)
		}
	}
	if slices.Equal(rest, fresh) {
		return true // it left
	}
	i := slices.IndexFunc(old, func(o Device) bool { return o.Key == d.Key })
	if i < 0 || len(fresh) != len(old) || d.Scopes&ScopeRenew == 0 || fresh[i].Expires < d.Expires {
		return false
	}
	extended := slices.Clone(old)
	extended[i].Expires = fresh[i].Expires
	return slices.Equal(extended, fresh)
}
