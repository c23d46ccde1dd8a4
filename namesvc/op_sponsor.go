package namesvc

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/confab-chat/confab/namesvc/ticket"
	"github.com/confab-chat/confab/namesvc/wire"
)

// Sponsorship is the body of a sponsor op: the account pays for registrations
// with tickets that this key signs. Empty, it pays for none any more.
type Sponsorship struct {
	_   struct{} `cbor:",toarray"`
	Key []byte   // an RSA modulus of 256 bytes, or empty; the exponent is 65537
}

// Sponsor is the value of an account's sponsor leaf. It stays when the key is
// withdrawn: who could begin anew would have a new day each time, and would be
// rid of what operators have voted.
type Sponsor struct {
	_        struct{} `cbor:",toarray"`
	Version  uint8    // 1
	Account  AccountID
	Key      []byte // of its tickets, or empty if it sponsors nobody
	Quota    uint32 // commits a day: Params.SponsorDaily, or what was voted
	Day      uint64 // of Used: seconds since 1970, divided by 86,400
	Used     uint32 // commits paid for on that day
	Declared uint64 // seconds since 1970 of the last change of Key
}

const (
	// MaxSponsorDaily bounds the commits a day that can be voted for. Twenty
	// million registrations a year are more than one sponsor can know the people
	// behind, and a twentieth of what blocks have room for, so that one who
	// turns bad leaves room for the others until the next checkpoint.
	MaxSponsorDaily = 1 << 16
	// maxSponsor bounds the encoding in bytes: a key, an id and five numbers of
	// at most 9 make under 340.
	maxSponsor = 384
)

// Encode returns the leaf value.
func (s Sponsor) Encode() []byte { return wire.Encode(s) }

// DecodeSponsor parses a sponsor's leaf.
func DecodeSponsor(b []byte) (Sponsor, error) {
	var s Sponsor
	if err := wire.Decode(b, &s, maxSponsor); err != nil {
		return Sponsor{}, fmt.Errorf("sponsor: %w", err)
	}
	if s.Version != 1 || len(s.Key) != 0 && ticket.CheckKey(s.Key) != nil || s.Quota > MaxSponsorDaily {
		return Sponsor{}, fmt.Errorf("sponsor: the leaf is malformed")
	}
	return s, nil
}

// Left returns for how many more commits the sponsor can pay on the day of this
// time (seconds since 1970).
func (s Sponsor) Left(time uint64) uint32 {
	if len(s.Key) == 0 {
		return 0
	}
	if s.Day != time/day {
		return s.Quota
	}
	return s.Quota - min(s.Quota, s.Used)
}

// sponsor declares, changes or withdraws the key of an account's tickets.
func (l *law) sponsor(e *Entry, by authority, body Sponsorship) error {
	switch {
	case !by.root:
		return reject(NotAllowed, "a root key speaks for a sponsor")
	case e.Kind != Service:
		return reject(BadSponsor, "the account is of kind %v; sponsors are accounts of kind %v", e.Kind, Service)
	}
	s, known, err := l.sponsorOf(e.Account)
	if err != nil {
		return err
	}
	if !known {
		s.Quota = l.params.SponsorDaily
	}
	if bytes.Equal(s.Key, body.Key) {
		return reject(BadSponsor, "nothing changes")
	}
	if len(body.Key) != 0 {
		if err := ticket.CheckKey(body.Key); err != nil {
			return reject(BadSponsor, "%v", err)
		}
	}
	s.Key, s.Declared = body.Key, l.block.Time
	l.view.Set(SponsorKey(e.Account), s.Encode())
	return nil
}

// sponsorOf returns an account's sponsor leaf, and whether there is one.
func (l *law) sponsorOf(id AccountID) (Sponsor, bool, error) {
	s := Sponsor{Version: 1, Account: id}
	err := l.load(SponsorKey(id), &s)
	if errors.Is(err, errAbsent) {
		return s, false, nil
	}
	return s, true, err
}

// payTicket checks a commit's ticket and counts it against its sponsor's day,
// and against nobody else's: were it to make work harder too, a sponsor could
// keep those out who have none.
func (l *law) payTicket(c *Commit, challenge [32]byte) error {
	account, sig, ok := ticket.SplitBlind(c.Proof)
	if !ok {
		return reject(BadPayment, "a ticket has %d bytes, not %d", ticket.BlindSize, len(c.Proof))
	}
	s, _, err := l.sponsorOf(account)
	switch {
	case err != nil:
		return err
	case len(s.Key) == 0:
		return reject(UnknownSponsor, "%v", AccountID(account))
	case s.Left(l.block.Time) == 0:
		return reject(SponsorSpent, "its quota is %d a day", s.Quota)
	}
	if err := ticket.VerifyBlind(s.Key, challenge, sig); err != nil {
		return reject(BadTicket, "")
	}
	if today := l.block.Time / day; s.Day != today {
		s.Day, s.Used = today, 0
	}
	s.Used++
	l.view.Set(SponsorKey(account), s.Encode())
	return nil
}

// checkQuota checks a vote on a sponsor's quota.
func (l *law) checkQuota(v Vote) error {
	if v.Number > MaxSponsorDaily {
		return reject(BadVote, "%d commits a day, at most %d are allowed", v.Number, MaxSponsorDaily)
	}
	switch s, known, err := l.sponsorOf(v.Account); {
	case err != nil:
		return err
	case !known || len(s.Key) == 0 && v.Number != 0:
		return reject(UnknownSponsor, "%v", v.Account)
	case uint64(s.Quota) == v.Number:
		return reject(BadVote, "its quota is %d already", s.Quota)
	}
	return nil
}

// endow gives sponsors the quotas that were carried, and returns whose.
func (l *law) endow(el *election) (map[AccountID]bool, error) {
	done := map[AccountID]bool{}
	for _, t := range el.tallies() {
		// Each operator has one vote on an account, so at most one number has
		// two thirds, and the order of the map makes no difference.
		if t.Vote.Kind != VoteSponsor || !t.Carried() {
			continue
		}
		s, known, err := l.sponsorOf(t.Vote.Account)
		if err != nil {
			return nil, err
		}
		if !known {
			return nil, errors.New("votes are on a sponsor that has no leaf; the state is damaged")
		}
		s.Quota = uint32(t.Vote.Number)
		l.state.Set(SponsorKey(s.Account), s.Encode())
		done[s.Account] = true
	}
	return done, nil
}
