"""What is run in pages: how elements are found, and what is noted for the tests."""

NOTES = """
    window.toldToTests = [];
    (() => {
        const tell = (type, text) => toldToTests.push([type, String(text)]);
        for (const [name, type] of [["log", "log"], ["info", "info"], ["warn", "warning"], ["error", "error"]]) {
            const say = console[name];
            console[name] = (...said) => { tell(type, said.join(" ")); say.apply(console, said); };
        }
        addEventListener("error", ({ error, message }) => error && tell("thrown", message));
        addEventListener("unhandledrejection", ({ reason }) => tell("thrown", reason));
        addEventListener("securitypolicyviolation", ({ violatedDirective, blockedURI }) =>
            tell("error", `Content Security Policy: ${violatedDirective} blocks ${blockedURI}`));
    })();
"""
"""What is said and thrown is kept until somebody asks."""

FIND = """
    const pierced = (root, css) => {
        const roots = [root, ...root.querySelectorAll("*")].filter((one) => one.shadowRoot);
        return [...root.querySelectorAll(css), ...roots.flatMap((one) => pierced(one.shadowRoot, css))];
    };
    const words = (element) => (element.innerText ?? element.textContent).replace(/\\s+/g, " ").trim();
    const named = (element) => element.getAttribute("aria-label") ?? words(element);
    const TAGS = { button: "button, [role=button]", link: "a[href]", alert: "[role=alert]" };
    const STEPS = {
        css: (found, css) => [...new Set(found.flatMap((root) => pierced(root, css)))],
        nth: (found, nth) => found.slice(nth, nth + 1),
        text: (found, text) => found.filter((one) => words(one).includes(text)),
        role: (found, [role, name, exact]) =>
            STEPS.css(found, TAGS[role]).filter((one) => exact ? named(one) === name : named(one).includes(name ?? "")),
        label: (found, text) =>
            STEPS.css(found, "label").filter((one) => words(one).includes(text)).map((one) => one.control),
    };
    const find = (steps) => steps.reduce((found, [step, value]) => STEPS[step](found, value), [document]);
    const isSeen = (element) => element.getClientRects().length > 0 && element.checkVisibility();
"""

EVALUATE = """
    const [steps, argument, done] = arguments;
    %s
    const answer = (value, wrong = null) => done([value ?? null, wrong, (window.toldToTests ?? []).splice(0)]);
    (async () => {
        const work = (%s);
        const found = steps && find(steps);
        if (found && found.length !== 1) return answer(null, `expected one element, found ${found.length}`);
        return answer(await (typeof work === "function" ? work(...(found ?? []), argument) : work));
    })().catch((error) => answer(null, String(error)));
"""
