// The button in the viewer's toolbar that shows and hides the bar. The viewer forgets it with every study, so it is
// added again whenever the toolbar lacks it.

import { complain } from './complaints.js';
import { say } from './texts.js';

const ID = 'NunDbLive';
const COMMAND = 'toggleNunDbBar';

export function addCommand(viewer, onPress) {
  viewer.commands.createContext?.('NUN_DB');
  viewer.commands.registerCommand('NUN_DB', COMMAND, { commandFn: onPress });
}

/** Adds the button if it is not there. */
export function addButton(viewer, texts) {
  const { toolbarService } = viewer.services;
  try {
    if (toolbarService.getButton(ID)) return;
    toolbarService.register([
      {
        id: ID,
        uiType: 'ohif.toolButton',
        props: {
          icon: 'tool-stack-image-sync',
          label: say(texts, 'toolbar'),
          tooltip: say(texts, 'toolbarHint'),
          commands: [{ commandName: COMMAND, context: 'NUN_DB' }],
          evaluate: 'evaluate.action',
        },
      },
    ]);
    // Not into the list that is there: it is the mode's own, and would name a button that the next study lacks.
    const others = (toolbarService.state.buttonSections.primary ?? []).filter((id) => id !== ID);
    toolbarService.clearButtonSection('primary');
    toolbarService.updateSection('primary', [...others, ID]);
  } catch (error) {
    complain('the toolbar has no place for a button', error);
  }
}
