package e2ee

import (
	"bytes"
	"fmt"
	"math/big"
	"strings"

	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/talk/message"
)

// TagSafety separates safety numbers from all other hashes.
const TagSafety wire.Tag = "confab/safety-number/1\n"

// The form of a safety number: 60 digits, about 199 bits, in groups that people
// can read to each other.
const (
	safetyDigits = 60
	safetyGroup  = 5
)

// SafetyNumber returns the digits that two parties compare, in person or by
// voice: 12 groups of 5, the same for both.
//
// They stand for both accounts and generations and nothing else. An account's id
// is the hash of its first op, so equal numbers mean that each has the account
// that the other believes him to have, under the same continuous control; they
// change with a generation and stay with a new device. That the devices in a
// conversation are those of the accounts the chain proves, and the Judge checks.
func SafetyNumber(a, b message.Party) string {
	if bytes.Compare(a.Account[:], b.Account[:]) > 0 {
		a, b = b, a
	}
	sum := TagSafety.Sum(wire.Encode([2]message.Party{a, b}))
	n := new(big.Int).SetBytes(sum[:])
	n.Mod(n, new(big.Int).Exp(big.NewInt(10), big.NewInt(safetyDigits), nil))
	digits := fmt.Sprintf("%0*d", safetyDigits, n)
	groups := make([]string, 0, safetyDigits/safetyGroup)
	for i := 0; i < len(digits); i += safetyGroup {
		groups = append(groups, digits[i:i+safetyGroup])
	}
	return strings.Join(groups, " ")
}
