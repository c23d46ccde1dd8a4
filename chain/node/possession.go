package node

import (
	"fmt"

	"github.com/confab-chat/confab/lightclient/verify"
)

// Possession signs with the folder's validator key that it belongs to an account
// on the folder's chain. It is no vote, and a running validator is not disturbed.
func Possession(home string, account [32]byte) (verify.Possession, error) {
	doc, err := loadGenesis(home)
	if err != nil {
		return verify.Possession{}, err
	}
	pv, err := loadKey(home)
	if err != nil {
		return verify.Possession{}, err
	}
	p := verify.Possession{ChainID: doc.ChainID, Account: account, Key: [33]byte(pv.Key.PubKey.Bytes())}
	sig, err := pv.Key.PrivKey.Sign(verify.PossessionMessage(p.ChainID, p.Account, p.Key))
	if err != nil || len(sig) != len(p.Signature) {
		return verify.Possession{}, fmt.Errorf("sign possession: the key cannot sign")
	}
	p.Signature = verify.Signature(sig)
	return p, p.Check()
}
