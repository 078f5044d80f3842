package opengauss

import (
	"slices"
	"strings"

	"github.com/shiplift/shiplift/internal/plan"
	"github.com/shiplift/shiplift/internal/say"
)

// Strategy is the vendor's name for what a plan does (spec section 4.2).
func Strategy(p *plan.Plan) string {
	switch _, number := wanted(p); {
	case p.Request.Mode == "inplace":
		return "inplace-binary-upgrade"
	case number != "":
		return "large-binary-upgrade"
	}
	return "small-binary-upgrade"
}

// Target is the commit that a plan leads to; "" for the cluster manager alone.
func Target(p *plan.Plan) string {
	commit, _ := wanted(p)
	return commit
}

// PackageCommit is the commit of a package on this machine.
func PackageCommit(files []string) (string, error) {
	pkg, err := readPackage(files)
	if err != nil {
		return "", err
	}
	return pkg.Software.Commit, nil
}

// vendorSteps are the steps of upgrade_step.csv (spec section 6.1), each with
// the kinds of steps that must be done on a node for it.
var vendorSteps = []struct {
	kinds []string
	text  say.Text
}{
	{nil, say.F("nothing was changed yet", "尚未更改")},
	{[]string{kindUnpack, kindOpen}, say.F("the new binaries are laid down", "新版本程序已就位")},
	{[]string{kindSQLPre}, say.F("the catalogue is ready for the new binaries", "数据字典已为新程序做好准备")},
	{[]string{kindFlip}, say.F("the link leads to the new binaries", "软链接已指向新程序")},
	{[]string{kindStart}, say.F("the processes run the new binaries", "进程已运行新程序")},
	{[]string{kindSQLPost, plan.VerifyKind}, say.F("upgraded and proven, waiting for the commit", "已升级并通过验证，等待提交")},
	{[]string{kindSeal}, say.F("the commit has begun", "已开始提交")},
}

// VendorStep is how far a node has come, as the vendor counts.
func VendorStep(p *plan.Plan, node string, done func(step string) bool) (int, say.Text) {
	at := 0
	for n := 1; n < len(vendorSteps); n++ {
		for i := range p.Steps {
			s := &p.Steps[i]
			mine := s.Node == "" || s.Node == node
			if mine && slices.Contains(vendorSteps[n].kinds, s.Kind) && !done(s.ID) {
				return at, vendorSteps[at].text
			}
		}
		at = n
	}
	return at, vendorSteps[at].text
}

// VendorList writes names as the vendor's tool does: ['node1', 'node2'].
func VendorList(names []string) string {
	return "['" + strings.Join(names, "', '") + "']"
}
