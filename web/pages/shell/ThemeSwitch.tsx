import { Icon } from '../../client/react/icons';
import { useStore } from '../../client/react/useStore';
import { texts } from '../texts';
import { openTheme } from './theme';

const theme = openTheme();

export function ThemeSwitch() {
  const dark = useStore(theme) === 'dark';
  const says = dark ? texts.shell.toLight : texts.shell.toDark;
  return (
    <button type="button" className="t-icon-button" aria-label={says} title={says} onClick={theme.toggle}>
      <Icon name={dark ? 'sun' : 'moon'} />
    </button>
  );
}
