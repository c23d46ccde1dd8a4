package chat

import (
	"encoding/hex"
	"strconv"
	"strings"

	"github.com/confab-chat/confab/concierge"
	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/talk/message"
)

// destination is what the outbox sends to: a queue of a party's. Where the
// party's concierge is gets looked up when it is sent.
type destination struct {
	party   message.Party
	address concierge.Address
}

func (d destination) String() string {
	return d.party.Account.String() + "/" + strconv.FormatUint(uint64(d.party.Generation), 10) + "/" + hex.EncodeToString(d.address[:])
}

func parseDestination(s string) (d destination, err error) {
	bad := wire.Errorf(wire.Internal, "outbox: a destination is damaged")
	parts := strings.Split(s, "/")
	if len(parts) != 3 {
		return d, bad
	}
	account, err1 := hex.DecodeString(parts[0])
	generation, err2 := strconv.ParseUint(parts[1], 10, 32)
	address, err3 := hex.DecodeString(parts[2])
	if err1 != nil || err2 != nil || err3 != nil || len(account) != len(d.party.Account) || len(address) != len(d.address) {
		return d, bad
	}
	copy(d.party.Account[:], account)
	d.party.Generation = uint32(generation)
	copy(d.address[:], address)
	return d, nil
}
