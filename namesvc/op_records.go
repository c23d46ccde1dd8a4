package namesvc

import (
	"bytes"
	"slices"

	"github.com/confab-chat/confab/namesvc/key"
	"github.com/confab-chat/confab/namesvc/wire"
)

func (l *law) setRecords(e *Entry, by authority, r Records) error {
	if err := r.check(e.Kind); err != nil {
		return reject(BadRecords, "%v", err)
	}
	old := e.Records
	moved, edited := !sameConcierges(old.Concierges, r.Concierges), !sameSelf(old, r)
	switch {
	case !moved && !edited:
		// Else a device that may do nothing could extend the lease with it.
		return reject(BadRecords, "nothing changes")
	case moved && !by.may(ScopeConcierge):
		return reject(NotAllowed, "the device lacks the scope %v", ScopeConcierge)
	case edited && !by.may(ScopeRecords):
		return reject(NotAllowed, "the device lacks the scope %v", ScopeRecords)
	}
	for _, c := range r.Concierges {
		// What stays as it was is not asked for again: a concierge that has
		// gone must not keep its users from changing anything else.
		if slices.ContainsFunc(old.Concierges, func(o Concierge) bool { return sameConcierge(o, c) }) {
			continue
		}
		if err := l.checkConcierge(e, c); err != nil {
			return err
		}
	}
	e.Records = r
	return nil
}

// checkConcierge checks a concierge that e wants to add.
func (l *law) checkConcierge(e *Entry, c Concierge) error {
	s, err := l.entry(c.Account)
	if err != nil {
		return err
	}
	switch {
	case s == nil || s.Kind != Service || s.Records.Service == nil || s.Records.Service.Roles&RoleConcierge == 0:
		return reject(UnknownService, "account %v is no concierge", c.Account)
	case s.Generation != c.Generation:
		return reject(UnknownService, "account %v has generation %d, not %d", c.Account, s.Generation, c.Generation)
	case l.block.Time >= s.Lapses:
		return reject(UnknownService, "account %v has lapsed", c.Account)
	case len(c.Acceptance) == 0 && s.Records.Service.Consent:
		return reject(AcceptanceRequired, "")
	case len(c.Acceptance) == 0:
		return nil
	}
	msg := Acceptance(l.params.Chain, e.Account, e.Generation, c.Account, c.Generation)
	if key.Verify(s.Records.Service.Key, wire.TagAcceptance, msg, key.Signature(c.Acceptance)) != nil {
		return reject(BadAcceptance, "")
	}
	return nil
}

func sameConcierge(a, b Concierge) bool {
	return a.Account == b.Account && a.Generation == b.Generation && a.Priority == b.Priority &&
		bytes.Equal(a.Acceptance, b.Acceptance)
}

func sameConcierges(a, b []Concierge) bool { return slices.EqualFunc(a, b, sameConcierge) }

// sameSelf reports whether all records but the concierges are the same.
func sameSelf(a, b Records) bool {
	return bytes.Equal(a.Profile, b.Profile) && bytes.Equal(a.Avatar, b.Avatar) &&
		slices.Equal(a.AlsoKnownAs, b.AlsoKnownAs) && sameEndpoint(a.Service, b.Service)
}

func sameEndpoint(a, b *Endpoint) bool {
	if a == nil || b == nil {
		return a == b
	}
	return slices.Equal(a.URLs, b.URLs) && slices.Equal(a.Peers, b.Peers) &&
		a.Roles == b.Roles && a.Key == b.Key && a.Consent == b.Consent
}
