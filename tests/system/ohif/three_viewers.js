// A lesson: who leads and who follows, who may only watch, who comes late, and what happens when the server goes away.
import { withBrowser } from '../browser/browser.js';
import { ask, main, options } from '../javascript/harness.js';
import {
  act,
  bar,
  drag,
  measure,
  newPage,
  now,
  open,
  people,
  press,
  ready,
  removeMeasurements,
  says,
  sentAfter,
  shown,
  sleep,
  together,
  wheel,
} from './pages.js';

const SIZE = { width: 1000, height: 700 };

const panesOf = async (page) => (await shown(page)).panes;

const hasSamePanes = (one, other) => JSON.stringify(one.panes) === JSON.stringify(other.panes);

/** Whether both show the same panes, at last. */
async function isTogether(here, there) {
  const found = await together(here, there, hasSamePanes);
  return hasSamePanes(found.here, found.there);
}

async function signIn(page, name, token) {
  const field = (which) => bar(page, `[data-field="${which}"]`);
  if (!(await bar(page, '[data-action="signIn"]').isVisible())) await act(page, 'more');
  await act(page, 'signIn');
  await field('name').fill(name);
  await field('token').fill(token);
  await act(page, 'submit');
}

async function signOut(page) {
  if (!(await bar(page, '[data-action="signOut"]').isVisible())) await act(page, 'more');
  await act(page, 'signOut');
}

/** The forms of app-config.js, made of the demo's own, in which the configuration is an object. */
const asFunction = (url) => (text) => `${text}
  const given = { ...window.config, nunDb: { ...window.config.nunDb, url: "${url}" } };
  window.config = () => given;`;

/** The extension is part of the viewer, as one that is linked into a checkout is. */
const asPart = (server) => (text) => `${text}
  const given = window.config;
  window.config = async () => ({
    ...given, extensions: [(await import("http://${server}/ohif/sync.js")).default],
  });`;

/** Opens a viewer while nothing of the extension can be had; whether it shows its images, and has no bar. */
async function openAlone(page, url) {
  await page.goto(url, { timeout: 120_000 });
  const isShown = () => Boolean(window.cornerstone?.getEnabledElements?.()[0]?.viewport.getCornerstoneImage?.());
  const opened = await page.waitForFunction(isShown, null, { timeout: 120_000, polling: 200 }).then(
    () => true,
    () => false,
  );
  return [opened, await page.locator('#nun-db-bar').count()];
}

/** Goes to another address of the viewer itself. */
async function goTo(page, path) {
  await page.keyboard.press('Shift');
  await page.evaluate((to) => window.commandsManager.run('navigateHistory', { to }), `/${path}`);
  await page.waitForURL((address) => address.pathname + address.search === `/${path}`);
  await sleep(1500);
}

const buttons = (page) =>
  bar(page, 'button').evaluateAll((all) =>
    Object.fromEntries(
      all
        .filter((one) => one.offsetParent !== null)
        .map((one) => [one.dataset.action, one.disabled ? one.title : true]),
    ),
  );

main(() =>
  withBrowser(options.chromium, {}, async (browser) => {
    const [older, newer] = options.urls;
    const [chest, head] = options.paths;
    const teacher = await open(browser, newer + chest, SIZE, 'teacher');
    const doctor = await open(browser, older + chest, { width: 800, height: 600 }, 'doctor', {
      configure: asFunction(options.relay),
    });
    await signIn(teacher, 'Ana <b>', '');
    const seen = { people: await people(doctor, 2) };
    for (const end = Date.now() + 20_000; Date.now() < end && !seen.people.join().includes('Ana');)
      seen.people = await people(doctor, 2);

    // Ana leads: the doctor's own moves move nobody, and the next of hers brings him back.
    await act(teacher, 'takeOver');
    seen.leads = [await says(teacher, 'You lead'), await says(doctor, 'Following Ana <b>')];
    await wheel(teacher, 3);
    seen.follows = await isTogether(teacher, doctor);
    const [before, from] = [await panesOf(teacher), await now(doctor)];
    await wheel(doctor, 2);
    await sleep(800);
    seen.stray = {
      sent: await sentAfter(doctor, from),
      isUnmoved: JSON.stringify(await panesOf(teacher)) === JSON.stringify(before),
    };
    await wheel(teacher, 1);
    seen.broughtBack = await isTogether(teacher, doctor);

    // On his own, and back with the newest state at once.
    await act(doctor, 'letGo');
    seen.alone = await says(doctor, 'On your own, Ana <b> leads');
    await wheel(teacher, 2);
    await sleep(800);
    seen.isApart = JSON.stringify(await panesOf(teacher)) !== JSON.stringify(await panesOf(doctor));
    await act(doctor, 'follow');
    seen.back = await isTogether(teacher, doctor);
    await act(doctor, 'letGo');
    await press(teacher, 'r');
    await act(teacher, 'bring');
    seen.brought = await isTogether(teacher, doctor);

    await act(doctor, 'raise');
    seen.hand = await people(teacher, 2);
    for (const end = Date.now() + 10_000; Date.now() < end && !seen.hand.join().includes('hand raised');)
      seen.hand = await people(teacher, 2);
    await act(doctor, 'takeOver');
    seen.takenOver = [await says(doctor, 'You lead'), await says(teacher, 'Following Guest')];
    await wheel(doctor, 1);
    seen.followsBack = await isTogether(doctor, teacher);
    await act(doctor, 'release');
    seen.everybody = [await says(doctor, 'Everybody moves'), await says(teacher, 'Everybody moves')];

    // A third one comes late, from the list of studies, signs in as somebody who may only read, and follows.
    await drag(teacher, 'middle', 8, [4, 3]);
    const student = await open(browser, newer, { width: 900, height: 640 }, 'student', {
      configure: asPart(options.server),
    });
    seen.late = [await isTogether(teacher, student), student.url()];
    await signIn(student, 'student', 'wrong');
    seen.wrong = await says(student, 'Invalid token');
    await signOut(student);
    await says(student, 'Everybody moves');
    await signIn(student, 'student', 'student-pwd');
    seen.watching = await says(student, 'You may only watch');
    seen.buttons = await buttons(student);
    await student.screenshot({ path: `${options.artifacts}/ohif-student.png` });
    const [fromStudent, still] = [await now(student), await panesOf(teacher)];
    await wheel(student, 2);
    await sleep(800);
    seen.student = {
      sent: await sentAfter(student, fromStudent),
      isUnmoved: JSON.stringify(await panesOf(teacher)) === JSON.stringify(still),
    };
    await wheel(teacher, 2);
    seen.studentFollows = await isTogether(teacher, student);
    seen.address = student.url();
    await signOut(student);
    await says(student, 'Everybody moves');
    await signIn(student, 'pupil', 'pupil-pwd');
    seen.pupil = [await says(student, 'You may only watch'), await people(teacher, 3)];
    await act(student, 'raise');
    const isRaised = (names) => names.some((name) => name.includes('pupil, hand raised'));
    for (const end = Date.now() + 15_000; Date.now() < end && !isRaised(seen.pupil[1]); await sleep(100)) {
      seen.pupil[1] = await people(teacher, 3);
    }

    // A client of the first extension: it moves them, and is moved by them.
    const fromDoctor = await now(doctor);
    await ask('old', {
      camera: await teacher.evaluate(() => window.cornerstone.getEnabledElements()[0].viewport.getCamera()),
    });
    for (const end = Date.now() + 15_000; Date.now() < end; await sleep(100)) {
      if ((await panesOf(teacher))[0].includes('scale 60.00') && (await panesOf(teacher))[0].includes('slice 9')) break;
    }
    seen.old = [await panesOf(teacher), await panesOf(doctor)];
    seen.oldEcho = (await sentAfter(doctor, fromDoctor)).length;
    await wheel(doctor, 1);
    await sleep(800);
    await ask('old heard');

    // The doctor's laptop is closed: nothing goes over its network, and its pages stand still.
    await isTogether(doctor, teacher);
    const laptop = await doctor.context().newCDPSession(doctor);
    const closed = Date.now();
    await ask('close laptop');
    await laptop.send('Page.setWebLifecycleState', { state: 'frozen' });
    seen.afterClosing = await people(teacher, 2);
    seen.goneAfter = Date.now() - closed;
    await wheel(teacher, 2);
    await press(teacher, 'r');
    const apart = await panesOf(teacher);
    await ask('open laptop');
    await laptop.send('Page.setWebLifecycleState', { state: 'active' });
    seen.afterOpening = [await people(teacher, 3), await isTogether(teacher, doctor)];
    seen.isUnmovedByLaptop = JSON.stringify(await panesOf(teacher)) === JSON.stringify(apart);

    // One goes back to the list of studies, and opens the study again, which the others have moved meanwhile.
    await goTo(doctor, '');
    await wheel(teacher, 1);
    await goTo(doctor, chest);
    await ready(doctor);
    seen.afterList = [await isTogether(teacher, doctor), await doctor.locator('[data-cy="NunDbLive"]').count()];

    // The server hangs, then is killed; a viewer that is opened meanwhile opens. What the others move is there when the
    // server is back, and nobody jumps.
    const alone = await newPage(browser, SIZE, 'alone');
    await measure(teacher, 'Length');
    await together(teacher, doctor, (_, other) => other.annotations.length === 1);
    await ask('hang');
    await removeMeasurements(teacher);
    seen.opensAlone = await openAlone(alone, newer + head);
    await ask('kill');
    seen.lost = await says(teacher, 'Connection lost');
    await wheel(teacher, 3);
    const away = await panesOf(teacher);
    await ask('start');
    seen.again = await says(teacher, 'Everybody moves');
    seen.afterRestart = [await isTogether(teacher, doctor), await isTogether(teacher, student)];
    const isWithout = (one, other) => one.annotations.length === 0 && other.annotations.length === 0;
    seen.removed = await together(teacher, doctor, isWithout);
    await ready(alone);
    seen.lateExtension = [await isTogether(teacher, alone), alone.url()];
    await alone.context().close();
    seen.hasJumped = JSON.stringify(await panesOf(teacher)) !== JSON.stringify(away);
    await wheel(doctor, 1);
    seen.goesOn = await isTogether(doctor, teacher);
    seen.peopleAgain = await people(teacher, 3);

    // A study that one may not open: he stays where he is, is told, and moves nobody.
    await doctor.route('**/studies/*.2.json', (route) => route.fulfill({ status: 403 }));
    await goTo(teacher, head);
    await ready(teacher);
    const notice = doctor.getByText('a study that you may not open');
    seen.refused = [
      await notice
        .first()
        .waitFor({ timeout: 30_000 })
        .then(
          () => true,
          () => false,
        ),
      doctor.url() === older + chest,
    ];
    const fromRefused = await now(doctor);
    await wheel(doctor, 2);
    await sleep(800);
    seen.refusedSent = await sentAfter(doctor, fromRefused);
    await goTo(teacher, chest);
    await ready(teacher);
    seen.inStepAgain = await isTogether(teacher, doctor);

    const leaving = Date.now();
    await student.context().close();
    seen.left = await people(teacher, 2);
    seen.leftAfter = Date.now() - leaving;

    // By keyboard alone: the bar's buttons are reached and pressed.
    await bar(doctor, '[data-action="letGo"]').focus();
    await doctor.keyboard.press('Enter');
    seen.keyboard = await says(doctor, 'On your own');
    seen.complaints = [...teacher.complaints, ...doctor.complaints, ...student.complaints];
    return seen;
  }),
);
