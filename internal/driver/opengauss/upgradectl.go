package opengauss

import (
	"path/filepath"
	"slices"
	"strings"

	"github.com/shiplift/shiplift/internal/plan"
	"github.com/shiplift/shiplift/internal/say"
)

// Upgradectl is a command line of the vendor's gs_upgradectl in Shiplift's own
// words (spec section 4.1).
type Upgradectl struct {
	Verb     string // check, apply, rollback, commit or status
	Request  plan.Request
	Accept   []string // gates that the command line names by itself
	Resume   bool     // --continue: the rest of an open run
	XML      string
	Log      string
	Force    bool // goes on past nodes that do not answer
	Bypassed []string
}

// codeError is a refusal of the command line, with the vendor's code.
func codeError(code string, text say.Text) error {
	return &say.Problem{Place: "gs_upgradectl", Text: say.Text{EN: "[" + code + "] : " + text.EN, ZH: "[" + code + "] : " + text.ZH}, Next: say.Same("gs_upgradectl --help")}
}

// ParseUpgradectl reads the vendor's options. The mode must be named for
// auto-upgrade: the vendor's default has changed three times between patch releases.
func ParseUpgradectl(args []string) (Upgradectl, error) {
	var u Upgradectl
	var task, show, nodes, component string
	var grey, inplace, rest bool
	for i := 0; i < len(args); i++ {
		key, val, joined := strings.Cut(args[i], "=")
		value := func() (string, error) {
			if joined {
				return val, nil
			}
			if i++; i >= len(args) {
				return "", codeError("GAUSS-50001", say.F("the option %s needs a value", "选项 %s 需要参数值", key))
			}
			return args[i], nil
		}
		var err error
		switch key {
		case "-t":
			task, err = value()
		case "-X":
			u.XML, err = value()
		case "-l":
			u.Log, err = value()
		case "-h":
			nodes, err = value()
		case "-S":
			show, err = value()
		case "--upgrade-package":
			component, err = value()
		case "--grey":
			grey = true
		case "--inplace-upgrade":
			inplace = true
		case "--continue":
			rest = true
		case "--force":
			u.Force = true
		case "--bypass-stale-check", "--skip-resource-check":
			u.Bypassed = append(u.Bypassed, key)
		default:
			err = codeError("GAUSS-50000", say.F("unrecognized parameter: %s", "无法识别的参数：%s", args[i]))
		}
		if err != nil {
			return u, err
		}
	}
	if len(u.Bypassed) > 0 {
		return u, codeError("GAUSS-50000", say.F("%s is not honoured: skip a check by its id with shiplift apply --skip", "不支持 %s：请用 shiplift apply --skip 按标识跳过检查", strings.Join(u.Bypassed, " ")))
	}
	if show != "" {
		if show != "show-step" || task != "" {
			return u, codeError("GAUSS-50011", say.F("-S takes show-step, alone", "-S 只能单独使用 show-step"))
		}
		u.Verb = "status"
		return u, nil
	}
	return u, u.settle(task, nodes, component, grey, inplace, rest)
}

func (u *Upgradectl) settle(task, nodes, component string, grey, inplace, rest bool) error {
	if task != "auto-upgrade" && (nodes != "" || rest || grey || inplace) {
		return codeError("GAUSS-50011", say.F("-h, --continue, --grey and --inplace-upgrade go with -t auto-upgrade only", "-h、--continue、--grey、--inplace-upgrade 只能与 -t auto-upgrade 一起使用"))
	}
	if u.Force && task != "auto-rollback" {
		return codeError("GAUSS-50011", say.F("--force goes with -t auto-rollback only", "--force 只能与 -t auto-rollback 一起使用"))
	}
	if u.XML == "" && slices.Contains([]string{"auto-upgrade", "auto-rollback", "commit-upgrade"}, task) {
		return codeError("GAUSS-50001", say.F("the option -X is missing", "缺少选项 -X"))
	}
	switch task {
	case "chose-strategy":
		u.Verb = "check"
	case "auto-rollback":
		u.Verb = "rollback"
	case "commit-upgrade":
		u.Verb, u.Accept = "commit", []string{plan.CommitGate}
	case "upgrade-cm":
		if component == "" {
			return codeError("GAUSS-50001", say.F("the option --upgrade-package is missing", "缺少选项 --upgrade-package"))
		}
		u.Verb, u.Request.Component, u.Request.Packages = "apply", componentCM, []string{component}
	case "auto-upgrade":
		return u.upgrade(nodes, grey, inplace, rest)
	case "":
		return codeError("GAUSS-50001", say.F("the option -t is missing", "缺少选项 -t"))
	default:
		return codeError("GAUSS-50004", say.F("-t %s is no action", "-t %s 不是有效操作", task))
	}
	return nil
}

func (u *Upgradectl) upgrade(nodes string, grey, inplace, rest bool) error {
	u.Verb = "apply"
	switch {
	case grey && inplace:
		return codeError("GAUSS-50011", say.F("--grey and --inplace-upgrade exclude each other", "--grey 与 --inplace-upgrade 互斥"))
	case !grey && !inplace:
		return codeError("GAUSS-50001", say.F("name --grey or --inplace-upgrade: the vendor's default differs between releases", "请指定 --grey 或 --inplace-upgrade：厂商默认值随版本变化"))
	case inplace && (nodes != "" || rest):
		return codeError("GAUSS-50011", say.F("-h and --continue go with --grey only", "-h 与 --continue 只能与 --grey 一起使用"))
	case nodes != "" && rest:
		return codeError("GAUSS-50011", say.F("-h and --continue exclude each other", "-h 与 --continue 互斥"))
	}
	u.Request.Mode = "rolling"
	if inplace {
		u.Request.Mode = "inplace"
	}
	if rest {
		u.Verb, u.Resume, u.Accept = "resume", true, []string{RestGate}
	}
	for _, n := range strings.Split(nodes, ",") {
		if n = strings.TrimSpace(n); n != "" {
			u.Request.Nodes = append(u.Request.Nodes, n)
		}
	}
	return nil
}

// ExitCode is the vendor's exit status for how the verb went: 2, 4 and 5 are
// successes (spec section 4.4). That of a commit depends on the mode of the run,
// which the caller puts into the request.
func (u Upgradectl) ExitCode(ok bool) int {
	switch {
	case u.Verb == "rollback" && ok:
		return 2
	case u.Verb == "rollback":
		return 3
	case u.Verb == "check" && ok:
		return 4
	case u.Verb == "commit" && ok && u.Request.Mode == "inplace":
		return 0
	case u.Verb == "commit" && ok:
		return 5
	case ok:
		return 0
	}
	return 1
}

// PackagesIn are the archives that gs_preinstall leaves in $GPHOME: the
// server's and, where there is one, the cluster manager's. More than one server
// archive is nobody's choice but the operator's: then none is returned.
func PackagesIn(dir string) []string {
	server, _ := filepath.Glob(filepath.Join(dir, "openGauss-*.tar.bz2"))
	if len(server) != 1 {
		whole, _ := filepath.Glob(filepath.Join(dir, "openGauss-*-all.tar.gz"))
		newer, _ := filepath.Glob(filepath.Join(dir, "openGauss-All-*.tar.gz"))
		if whole = append(whole, newer...); len(server) == 0 && len(whole) == 1 {
			return whole
		}
		return nil
	}
	cm, _ := filepath.Glob(filepath.Join(dir, "openGauss-*-cm.tar.gz"))
	newer, _ := filepath.Glob(filepath.Join(dir, "openGauss-CM-*.tar.gz"))
	if cm = append(cm, newer...); len(cm) == 1 {
		server = append(server, cm[0])
	}
	return server
}
